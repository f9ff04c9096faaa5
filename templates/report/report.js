"use strict";
(() => {
  const all = (selector, within) => [...(within || document).querySelectorAll(selector)];
  const root = document.documentElement;
  all(".controls, .filters").forEach((each) => { each.hidden = false; });

  // Light or dark: the other one than is seen.
  const dark = () => (root.dataset.colours || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  all("#colours").forEach((button) => button.addEventListener("click", () => { root.dataset.colours = dark() ? "light" : "dark"; }));
  all("#print").forEach((button) => button.addEventListener("click", () => print()));
  let closed = [];
  let colours;
  addEventListener("beforeprint", () => {
    closed = all("details:not([open])");
    closed.forEach((each) => { each.open = true; });
    colours = root.dataset.colours;
    root.dataset.colours = "light";
  });
  addEventListener("afterprint", () => {
    closed.forEach((each) => { each.open = false; });
    if (colours) { root.dataset.colours = colours; } else { delete root.dataset.colours; }
  });

  // A table that is wider than its place shows on which side it goes on.
  const edges = (each) => {
    const beyond = each.scrollWidth - each.clientWidth;
    each.classList.toggle("left", each.scrollLeft > 1);
    each.classList.toggle("right", beyond - each.scrollLeft > 1);
    const hint = each.previousElementSibling;
    if (hint && hint.classList.contains("hint")) { hint.hidden = beyond <= 1; }
  };
  const watch = new ResizeObserver((changes) => changes.forEach((change) => edges(change.target)));
  all(".scroll").forEach((each) => {
    watch.observe(each);
    each.addEventListener("scroll", () => edges(each), { passive: true });
  });

  // Tables are sorted by a column at a click on its header, at first from the largest number down.
  const valueOf = (row, at) => {
    const cell = row.cells[at];
    return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
  };
  const sortBy = (table, header, at) => {
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const numbers = rows.some((row) => typeof valueOf(row, at) === "number");
    const number = (row) => { const value = valueOf(row, at); return typeof value === "number" ? value : -Infinity; };
    const now = header.getAttribute("aria-sort");
    const down = now ? now === "ascending" : numbers;
    const compare = (a, b) => (numbers ? number(a) - number(b) : valueOf(a, at).localeCompare(valueOf(b, at), root.lang, { numeric: true }));
    rows.sort((a, b) => (down ? compare(b, a) : compare(a, b)));
    all("th", table.tHead).forEach((each) => each.removeAttribute("aria-sort"));
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    body.append(...rows);
  };
  all("table.sortable").forEach((table) => all("thead th", table).forEach((header, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    header.append(button);
    button.addEventListener("click", () => sortBy(table, header, at));
  }));

  // Where there is no room for columns, a cell behind the question says what it is.
  const sayTitles = (table) => {
    const titles = all("thead th", table).map((header) => header.textContent);
    all(".q ~ td", table).forEach((cell) => {
      const title = document.createElement("span");
      title.className = "who";
      title.textContent = titles[cell.cellIndex];
      cell.prepend(title);
    });
  };

  // Answers are filtered by what became of them and by a text, and shown some at a time.
  const step = 20;
  all(".asked").forEach((section) => {
    const rows = all("tbody tr", section);
    const texts = rows.map((row) => row.textContent.toLowerCase());
    const [choice, search, more] = ["select", "input", ".more"].map((selector) => section.querySelector(selector));
    let most = step;
    const show = () => {
      const wanted = search.value.trim().toLowerCase();
      let found = 0;
      rows.forEach((row, at) => {
        const fits = (!choice.value || row.dataset.is.includes(choice.value)) && texts[at].includes(wanted);
        found += fits ? 1 : 0;
        row.hidden = !fits || found > most;
      });
      section.querySelector(".shown").textContent = Math.min(found, most);
      section.querySelector(".found").textContent = found;
      more.hidden = found <= most;
    };
    const anew = () => { most = step; show(); };
    choice.addEventListener("change", anew);
    search.addEventListener("input", anew);
    const heading = section.querySelector("h3");
    all("a[data-show]").filter((link) => link.hash === `#${heading.id}`).forEach((link) => link.addEventListener("click", () => {
      choice.value = link.dataset.show;
      search.value = "";
      anew();
    }));
    more.addEventListener("click", () => { most += 10 * step; show(); });
    show();
  });
  all("table.answers").forEach(sayTitles);
})();
