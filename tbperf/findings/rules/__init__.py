"""One rule a file: its docstring is its page, `find` looks at one trace."""
