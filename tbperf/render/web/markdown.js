// The little Markdown that the pages of findings use: headings, paragraphs, lists, `code`, **strong**, links as text.

import { el, printable } from "./dom.js";

/** Return elements for a text; headings begin at a level. */
export function markdown(text, level = 4) {
  const blocks = [];
  let list = null;
  for (const block of text.split(/\n{2,}/)) {
    const lines = block.trim().split("\n");
    if (lines[0].startsWith("#")) {
      const depth = lines[0].match(/^#+/)[0].length;
      blocks.push(el(`h${Math.min(6, level + Math.max(0, depth - 2))}`, {}, lines[0].replace(/^#+\s*/, "")));
      continue;
    }
    if (/^[-*] /.test(lines[0])) {
      list = el("ul");
      let item = [];
      const flush = () => item.length && list.append(el("li", {}, inline(item.join(" "))));
      for (const line of lines) {
        if (/^[-*] /.test(line)) {
          flush();
          item = [line.slice(2)];
        } else item.push(line.trim());
      }
      flush();
      blocks.push(list);
      continue;
    }
    if (lines.join("").length) blocks.push(el("p", {}, inline(lines.join(" "))));
  }
  return blocks;
}

function inline(text) {
  return text.split(/(`[^`]+`|\*\*[^*]+\*\*|\[[^\]]+\]\([^)]*\))/).map((part) => {
    if (part.startsWith("`")) return el("code", {}, printable(part.slice(1, -1)));
    if (part.startsWith("**")) return el("strong", {}, part.slice(2, -2));
    if (/^\[[^\]]+\]\(/.test(part)) return part.slice(1, part.indexOf("]"));
    return part;
  });
}
