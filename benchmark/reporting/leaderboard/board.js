
// Filters. A part of the page says what it is about: data-m, the number of a method, and
// data-setting and data-set, a place. Hiding methods changes who competes: the best and second of
// those shown are found anew, and what was tested among all is dropped until all are back.
const methods = JSON.parse(document.querySelector("#methods").textContent);
const form = document.querySelector(".filters");
const [byName, byFamily, bySetting, bySet] = ["name", "family", "setting", "set"].map((name) =>
  document.querySelector(`#by-${name}`));
const about = [...document.querySelectorAll("[data-m], [data-setting]")];
const competing = methods.filter(([, , place]) => place).length;

function chosen() {
  const words = byName.value.toLowerCase().split(/\s+/);
  const family = byFamily?.value;
  return methods.map(([label, families]) =>
    words.every((word) => label.toLowerCase().includes(word)) &&
    (!family || families.includes(family)));
}

function matches({ dataset }, shown, setting, set) {
  return (dataset.m === undefined || shown[dataset.m]) &&
    (dataset.setting === undefined ||
      ((!setting || dataset.setting === setting) && (!set || dataset.set === set)));
}

function filter() {
  const shown = chosen();
  const setting = bySetting?.value ?? "";
  const set = bySet?.value ?? "";
  const narrowed = Boolean(setting || set);
  // As an attribute, since elements of SVG have no such property.
  for (const part of about) part.toggleAttribute("hidden", !matches(part, shown, setting, set));
  // The gains over all runs, or those over the runs of the place that is chosen.
  const [whole, ...others] = document.querySelectorAll(".view");
  const wanted = others.find((view) => view.dataset.view === `${setting}|${set}`);
  for (const view of others) view.hidden = view !== wanted;
  if (wanted) wanted.open = true;
  whole.hidden = Boolean(wanted);
  document.querySelector(".overall").hidden = narrowed;

  const count = methods.filter(([, , place], i) => place && shown[i]).length;
  const partly = count < competing;
  document.body.classList.toggle("partly", partly);
  document.querySelectorAll(".scores table").forEach((table) => mark(table, partly));
  for (const section of document.querySelectorAll("main > section")) {
    const rows = [...section.querySelectorAll("[data-m]")];
    const empty = rows.length > 0 && rows.every((row) => row.closest("section [hidden]"));
    section.hidden = empty;
    const link = document.querySelector(`nav a[href="#${section.firstElementChild.id}"]`);
    link.parentElement.hidden = empty;
  }
  form.querySelector(".state").textContent = told(count, partly, narrowed && !wanted);
  document.querySelectorAll(".scatter").forEach(label);
}

function told(count, partly, whole) {
  const said = [`${count} of ${competing} methods.`];
  if (partly && count) {
    said.push("Bold and underlining mark the best and the second of these. ≈, ? and “may be best” " +
      "hold among all methods and are left out; intervals and p of gains are adjusted over all.");
  }
  if (whole) said.push("No gains over these runs alone: those above are over all runs.");
  return said.join(" ");
}

// Marks

function scoresOf(cell) {
  return cell.dataset.s.split(" ").map((text) => text === "-" ? null : Number(text));
}

const meanOf = (cell) => cell.querySelector(".mean");
const asMade = new Map([...document.querySelectorAll("[data-s]")].map((cell) =>
  [cell, meanOf(cell).firstElementChild?.localName ?? ""]));

function setMark(cell, name) {
  const mean = meanOf(cell);
  const text = mean.textContent;
  if (name) mean.replaceChildren(Object.assign(document.createElement(name), { textContent: text }));
  else mean.replaceChildren(text);
}

// Of every column the best two means of the rows shown: over the seeds that all of them have if these
// are two or more, else over each row's own, to two digits.
function mark(table, partly) {
  for (const cell of table.querySelectorAll("[data-s]")) {
    setMark(cell, partly ? "" : asMade.get(cell));
  }
  if (!partly) return;
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden && !row.matches(".aside"));
  for (let column = 1; column < table.tHead.rows[0].cells.length; column++) {
    markBest(rows.map((row) => row.cells[column]).filter((cell) => cell.dataset.s));
  }
}

function markBest(cells) {
  if (!cells.length) return;
  const values = cells.map(scoresOf);
  const all = values[0].map((_, seed) => values.every((of) => of[seed] !== null));
  const common = all.filter(Boolean).length > 1;
  const means = values.map((of) => {
    const used = of.filter((value, seed) => common ? all[seed] : value !== null);
    return (used.reduce((sum, value) => sum + value, 0) / used.length).toFixed(2);
  });
  const [best, second] = [...new Set(means)].sort((a, b) => b - a);
  cells.forEach((cell, i) => {
    if (means[i] === best) setMark(cell, "strong");
    else if (means[i] === second) setMark(cell, "u");
  });
}

// Plots: names where there is room, those first that nothing shown is both cheaper and better than.

const SVG = "http://www.w3.org/2000/svg";

function placesOf(svg) {
  const width = svg.clientWidth;
  return [...svg.querySelectorAll(".point")].filter((point) => !point.hasAttribute("hidden")).map((point) => {
    const circle = point.querySelector("circle");
    const x = parseFloat(circle.getAttribute("cx")) / 100 * width;
    return { point, name: methods[point.dataset.m][0], x, y: Number(circle.getAttribute("cy")) };
  });
}

function label(svg) {
  svg.querySelectorAll(".name").forEach((name) => name.remove());
  const width = svg.clientWidth;
  if (!width) return;
  const points = placesOf(svg);
  const front = points.filter(({ x, y }) => !points.some((p) => p.x < x && p.y < y));
  const taken = points.map(({ x, y }) => [x - 5, y - 5, x + 5, y + 5]);
  for (const { x, y, name } of [...front, ...points.filter((point) => !front.includes(point))]) {
    const text = svg.appendChild(document.createElementNS(SVG, "text"));
    text.setAttribute("class", "name");
    text.textContent = name;
    const long = text.getComputedTextLength();
    const boxes = [[x - 8 - long, y - 7], [x + 8, y - 7], [x - long / 2, y - 20], [x - long / 2, y + 7]];
    const free = boxes.map(([left, top]) => [left, top, left + long, top + 13]).find((box) =>
      box[0] >= 0 && box[2] <= width && box[1] >= 0 &&
      !taken.some((t) => box[0] < t[2] && t[0] < box[2] && box[1] < t[3] && t[1] < box[3]));
    if (free) {
      taken.push(free);
      text.setAttribute("x", free[0]);
      text.setAttribute("y", free[1] + 10);
    } else text.remove();
  }
}

function read(svg, point) {
  const out = svg.previousElementSibling;
  svg.querySelectorAll(".read").forEach((one) => one.classList.remove("read"));
  point.classList.add("read");
  const [, , place] = methods[point.dataset.m];
  const said = document.createElement("a");
  said.href = `#${place}`;
  said.textContent = point.querySelector("title").textContent;
  out.replaceChildren(said);
}

// One stop for the tab key; arrows go from point to point, from left to right.
function setUpPlot(svg) {
  const points = [...svg.querySelectorAll(".point")];
  points.forEach((point, i) => point.setAttribute("tabindex", i ? -1 : 0));
  svg.previousElementSibling.textContent = "Point at a method, tap it, or go through them with the arrow keys.";
  svg.addEventListener("pointermove", (event) => {
    const point = event.target.closest(".point");
    if (point) read(svg, point);
  });
  svg.addEventListener("click", (event) => {
    const { left, top } = svg.getBoundingClientRect();
    const far = ({ x, y }) => Math.hypot(x - event.clientX + left, y - event.clientY + top);
    const [nearest] = placesOf(svg).sort((a, b) => far(a) - far(b));
    if (nearest && far(nearest) < 30) nearest.point.focus();
  });
  svg.addEventListener("focusin", (event) => read(svg, event.target));
  svg.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const order = placesOf(svg).sort((a, b) => a.x - b.x).map(({ point }) => point);
    const next = order[order.indexOf(document.activeElement) + by];
    if (!next) return;
    document.activeElement.setAttribute("tabindex", -1);
    next.setAttribute("tabindex", 0);
    next.focus();
  });
  new ResizeObserver(() => label(svg)).observe(svg);
}

// A link to a method opens its part.
function openTarget() {
  const place = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  const details = place?.closest("details");
  if (!details || details.hidden) return;
  details.open = true;
  place.scrollIntoView({ behavior: "instant" });
}

document.querySelectorAll(".scatter").forEach(setUpPlot);
form.addEventListener("input", filter);
form.addEventListener("reset", () => setTimeout(filter));
form.addEventListener("submit", (event) => event.preventDefault());
form.hidden = false;
filter();
addEventListener("hashchange", openTarget);
openTarget();
