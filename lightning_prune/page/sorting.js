
"use strict";
// A click on a heading sorts its table; the third one brings back the order of the page.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const original = Array.from(body.rows);
  const headings = Array.from(table.tHead.rows[0].cells);
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.hasAttribute("data-key") ? cell.getAttribute("data-key") : cell.textContent;
  };
  const compare = (column, numeric) => (one, other) => {
    const a = key(one, column), b = key(other, column);
    return numeric ? Number(a) - Number(b) : a.localeCompare(b, undefined, {numeric: true});
  };
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const next = {ascending: "descending", descending: ""}[heading.getAttribute("aria-sort")];
      const order = next === undefined ? "ascending" : next;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      let rows = original;
      if (order) {
        heading.setAttribute("aria-sort", order);
        const numeric = heading.classList.contains("number");
        // what is unknown stays below, whichever way the rest is sorted
        const known = original.filter((row) => key(row, column) !== "");
        const unknown = original.filter((row) => key(row, column) === "");
        known.sort(compare(column, numeric));
        rows = (order === "descending" ? known.reverse() : known).concat(unknown);
      }
      body.append(...rows);
    });
  });
}
