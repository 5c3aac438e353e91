
"use strict";

// A row is {keys, text, element}: what it is sorted by, what the filter searches, and its <tr>.
// The rows of most tables are in the page; those of the runs come from JSON and become elements
// when they are first shown, so that ten thousand of them do not hold the page up.
const AT_ONCE = 500;
const texts = new Intl.Collator("en", { numeric: true });

function keyOf(cell) {
  if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
  return cell.classList.contains("lacking") ? null : cell.textContent;
}

function fromPage(row) {
  const labels = [...row.querySelectorAll(".group, th")].map((cell) => cell.textContent);
  return { keys: [...row.cells].map(keyOf), text: labels.join(" ").toLowerCase(), element: row };
}

function fromData(values, heads) {
  const keys = values.slice(0, heads.length);
  const element = () => {
    const row = document.createElement("tr");
    keys.forEach((key, i) => {
      const cell = row.appendChild(document.createElement(i ? "td" : "th"));
      const digits = heads[i].dataset.digits;
      const text = key === null ? "—" : digits ? key.toFixed(digits) : String(key);
      cell.className = key === null ? `${heads[i].className} lacking` : heads[i].className;
      const link = i === 0 && values[heads.length];
      const place = link ? cell.appendChild(document.createElement("a")) : cell;
      if (link) place.href = link;
      place.textContent = text;
    });
    return row;
  };
  return { keys, text: keys.join(" ").toLowerCase(), element };
}

function shown(row) {
  if (typeof row.element === "function") row.element = row.element();
  return row.element;
}

// Numbers before texts; what is missing comes last in either direction.
function comparison(column, sign) {
  return ({ keys: { [column]: a } }, { keys: { [column]: b } }) => {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return sign * (typeof a === "number" ? a - b : texts.compare(a, b));
  };
}

function setUp(section) {
  const [body] = section.querySelector("table").tBodies;
  const heads = [...section.querySelectorAll("thead th")];
  const [filter, count] = [".tools input", ".count"].map((one) => section.querySelector(one));
  const more = section.querySelector(".more");
  const data = section.querySelector("script[type='application/json']");
  const all = data
    ? JSON.parse(data.textContent).map((values) => fromData(values, heads))
    : [...body.rows].map(fromPage);
  let rows = all;
  let limit = more ? AT_ONCE : Infinity;

  function draw() {
    const words = (filter?.value ?? "").toLowerCase().split(/\s+/);
    const found = rows.filter((row) => words.every((word) => row.text.includes(word)));
    body.replaceChildren(...found.slice(0, limit).map(shown));
    body.classList.toggle("sorted", rows !== all);
    if (count) count.textContent = `${found.length} of ${all.length} rows`;
    if (more) {
      more.hidden = found.length <= limit;
      more.textContent = `Show ${Math.min(AT_ONCE, found.length - limit)} more`;
    }
  }

  // One direction, the other, and back to the order of the page; the first puts the best on top.
  function sort(column) {
    const before = heads[column].getAttribute("aria-sort");
    const first = heads[column].matches(".score, .number") ? "descending" : "ascending";
    const second = first === "ascending" ? "descending" : "ascending";
    const order = before === null ? first : before === first ? second : null;
    for (const head of heads) head.removeAttribute("aria-sort");
    if (order) heads[column].setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    rows = order ? [...rows].sort(comparison(column, sign)) : all;
    draw();
  }

  heads.forEach((head, i) => head.firstElementChild.addEventListener("click", () => sort(i)));
  filter?.addEventListener("input", draw);
  more?.addEventListener("click", () => { limit += AT_ONCE; draw(); });
  draw();
}

async function copy(button) {
  const code = button.previousElementSibling;
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } catch {  // not allowed here: leave it selected
    getSelection().selectAllChildren(code);
  }
}

// Where the contents stand above the tables instead of beside them, they are folded at first.
const contents = document.querySelector("nav details");
const wide = matchMedia("(min-width: 72rem)");
const fold = () => { contents.open = wide.matches; };
wide.addEventListener("change", fold);
fold();

document.querySelectorAll(".sheet").forEach(setUp);
document.addEventListener("click", (event) => {
  if (event.target.matches(".copy")) copy(event.target);
});
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
