"""What TensorBoard shows of a run: exports that its dashboards read, and a dashboard of our own."""
