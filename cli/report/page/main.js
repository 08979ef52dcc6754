// The page's state, and what people do with it.

const map = document.getElementById('map'), strip = document.getElementById('strip'), chart = document.getElementById('chart');
let view = null;
// At first the domain's last moment; of one that has ended, the last at which it had page tables; of several, the last at
// which the most of them lived.
let selected = {frame: null, event: Math.max(0, domains ? lastCompany() : facts.closed ? runs.lastRoot() : facts.shown - 1)};
let shownRefusal = -1;
let image = null;     // The last picture, and the view that it is of.
let counted = null;   // The chart's numbers, likewise.
let pending = 0, late = 0, rasterMs = 0;

function plotOf(area) {
  return {left: margin.left, top: margin.top, width: area.width - margin.left - margin.right,
    height: area.height - margin.top - margin.bottom};
}
const sameTime = (a, b) => a.x0 === b.x0 && a.x1 === b.x1;
const sameView = (a, b) => sameTime(a, b) && a.frame0 === b.frame0 && a.frame1 === b.frame1;

function renderImage(area, plot) {
  const begin = performance.now();
  const width = Math.max(1, Math.round(plot.width * area.scale)), height = Math.max(1, Math.round(plot.height * area.scale));
  const frames = view.frame1 - view.frame0, rows = Math.min(height, frames);
  const off = document.createElement('canvas');
  off.width = width;
  off.height = height;
  off.getContext('2d').putImageData(paint(rasterize(view, rows, width), rows, width, width, height), 0, 0);
  image = {off, axis, view: {...view}};
  rasterMs = performance.now() - begin;
}

// While somebody moves a picture that takes long to make, the last one is moved; a new one follows at rest.
function draw(settled) {
  pending = 0;
  const area = prepare(map);
  if (!area) return;
  const plot = plotOf(area), {context} = area;
  const fits = image && image.axis === axis && image.off.width === Math.round(plot.width * area.scale) && sameView(image.view, view);
  const slow = rasterMs > 25 && !settled && image && image.axis === axis;
  if (!fits && !slow) renderImage(area, plot);
  context.save();
  context.beginPath();
  context.rect(plot.left, plot.top, plot.width, plot.height);
  context.clip();
  const of = image.view, sx = (of.x1 - of.x0) / (view.x1 - view.x0), sy = (of.frame1 - of.frame0) / (view.frame1 - view.frame0);
  context.imageSmoothingEnabled = false;
  context.drawImage(image.off, plot.left + (of.x0 - view.x0) / (view.x1 - view.x0) * plot.width,
    plot.top + (of.frame0 - view.frame0) / (view.frame1 - view.frame0) * plot.height, plot.width * sx, plot.height * sy);
  if (!slow) drawLetters(context, view, plot);
  if (!slow) drawLoans(context, view, plot);
  drawMarks(context, plot);
  context.restore();
  (domains ? drawOwnerBand : drawOwners)(context, view, plot, selected.event);
  context.fillStyle = palette.faint;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  for (const frame of frameTicks(view.frame0, view.frame1, plot.height / 30))
    context.fillText(hex(frame), plot.left - margin.band - 6, plot.top + (frame - view.frame0 + 0.5) / (view.frame1 - view.frame0) * plot.height);
  drawXAxis(area, view);
  const below = prepare(strip);
  if (below) drawStrip(below, view);
  if (loans) drawGrants(document.getElementById('grant-strip'), view);
  drawTables(slow);
  if (slow) {
    clearTimeout(late);
    late = setTimeout(() => draw(true), 90);
  }
}

function drawTables(slow) {
  const area = prepare(chart);
  if (!area) return;
  const columns = Math.max(1, Math.floor(area.width - margin.left - margin.right));
  const fits = counted && counted.axis === axis && counted.columns === columns && sameTime(counted.view, view);
  if (!fits && !slow) counted = {axis, columns, view: {...view}, counts: countByColumn(view, columns)};
  drawChart(area, view, counted.counts, columns);
  const x = xToPixel(selected.event, plotOf(area));
  area.context.fillStyle = palette.focus;
  if (x >= margin.left && x <= area.width - margin.right) area.context.fillRect(x, margin.top, 1, area.height - margin.top - margin.bottom);
}

const xToPixel = (event, plot) => plot.left + (xOf(event) - view.x0) / (view.x1 - view.x0) * plot.width;
const yToPixel = (frame, plot) => plot.top + (frame + 0.5 - view.frame0) / (view.frame1 - view.frame0) * plot.height;

let markSize = 5;
const frameOf = (r) => r.frame ?? r.table;

function drawMarks(context, plot) {
  context.fillStyle = palette.refused;
  context.strokeStyle = palette.paper;
  const places = new Map();
  for (const r of refusals) {
    const frame = frameOf(r);
    if (frame === null || frame < view.frame0 || frame >= view.frame1) continue;
    const x = Math.round(xToPixel(r.event, plot)), y = Math.round(yToPixel(frame, plot));
    if (x > plot.left - 6 && x < plot.left + plot.width + 6) places.set(Math.round(x / 3) * 65536 + Math.round(y / 3), [x, y]);
  }
  // Many of them are small, or nothing else could be seen.
  const many = 200, size = markSize = places.size > many ? 2 : 5;
  for (const [x, y] of places.values()) {
    context.beginPath();
    context.moveTo(x - size, y - size * 1.8);
    context.lineTo(x + size, y - size * 1.8);
    context.lineTo(x, y);
    context.closePath();
    context.fill();
    if (size > 2) context.stroke();
  }
  if (selected.frame === null) return;
  context.fillStyle = palette.focus;
  const x = xToPixel(selected.event, plot), y = yToPixel(selected.frame, plot);
  context.fillRect(x, plot.top, 1, plot.height);
  context.fillRect(plot.left, y, plot.width, 1);
}

function redraw() {
  if (!pending) pending = requestAnimationFrame(() => draw(false));
}

// Keeps the view within what there is.
function setView(next) {
  const all = whole();
  const frames = Math.max(1, Math.min(Math.round(next.frame1 - next.frame0), all.frame1 - all.frame0));
  const frame0 = Math.round(Math.max(all.frame0, Math.min(next.frame0, all.frame1 - frames)));
  const least = axis === 'event' ? 10 : 1000;
  const length = Math.max(Math.min(least, all.x1), Math.min(next.x1 - next.x0, all.x1));
  const x0 = Math.max(0, Math.min(next.x0, all.x1 - length));
  view = {frame0, frame1: frame0 + frames, x0, x1: x0 + length};
  redraw();
}
function zoomTime(factor, around = (view.x0 + view.x1) / 2) {
  setView({...view, x0: around - (around - view.x0) / factor, x1: around + (view.x1 - around) / factor});
}
function zoomFrames(factor, around = (view.frame0 + view.frame1) / 2) {
  setView({...view, frame0: around - (around - view.frame0) / factor, frame1: around + (view.frame1 - around) / factor});
}
function pan(x, y) {
  const dx = (view.x1 - view.x0) * x, dy = Math.sign(y) * Math.max(y ? 1 : 0, Math.abs((view.frame1 - view.frame0) * y));
  setView({frame0: view.frame0 + dy, frame1: view.frame1 + dy, x0: view.x0 + dx, x1: view.x1 + dx});
}

// Puts the mark somewhere, and the view where the mark can be seen.
function mark(frame, event) {
  selected = {frame, event: Math.max(0, Math.min(Math.round(event), Math.max(0, facts.shown - 1)))};
  const next = {...view}, x = xOf(selected.event);
  if (x < view.x0 || x > view.x1) next.x0 = x - (view.x1 - view.x0) / 2, next.x1 = x + (view.x1 - view.x0) / 2;
  if (frame !== null && (frame < view.frame0 || frame >= view.frame1)) {
    const half = Math.floor((view.frame1 - view.frame0) / 2);
    next.frame0 = frame - half;
    next.frame1 = next.frame0 + (view.frame1 - view.frame0);
  }
  setView(next);
  const look = frame === null ? '' : ` Frame ${hex(frame)}: ${nameOfFrame(runs.lookAt(runs.of(frame), selected.event), runs.ownerAt(runs.of(frame), selected.event))}.`;
  document.getElementById('status').textContent = `Event ${grouped(selected.event)}, ${when(selected.event)} after the begin.${look}`;
}
function select(frame, event) {
  mark(frame, event);
  if (frame !== null) showFrame(frame, selected.event);
  showTree(frame, selected.event);
}

function placeOf(mouse) {
  const box = map.getBoundingClientRect(), plot = plotOf({width: map.clientWidth, height: map.clientHeight});
  const x = (mouse.clientX - box.left - map.clientLeft - plot.left) / plot.width;
  const y = (mouse.clientY - box.top - map.clientTop - plot.top) / plot.height;
  return {x: view.x0 + x * (view.x1 - view.x0), frame: Math.min(view.frame1 - 1, Math.max(view.frame0, Math.floor(view.frame0 + y * (view.frame1 - view.frame0)))),
    pixelX: plot.left + x * plot.width, pixelY: plot.top + y * plot.height, plot};
}
// The refusal whose mark is at a place, if one is: marks stand on their frame's row.
function refusalNear(place) {
  let best = null, least = markSize + 1;
  for (const r of refusals) {
    const frame = frameOf(r);
    if (frame === null || frame < view.frame0 || frame >= view.frame1) continue;
    const above = yToPixel(frame, place.plot) - place.pixelY, away = Math.abs(xToPixel(r.event, place.plot) - place.pixelX);
    if (above > -2 && above < markSize * 2 && away < least) least = away, best = r;
  }
  return best;
}
function clickAt(place) {
  const refusal = refusalNear(place);
  if (refusal) {
    select(frameOf(refusal), refusal.event);
    showRefusal(refusal);
  } else {
    select(place.frame, Math.floor(eventOf(place.x)));
  }
}

let drag = null;
map.addEventListener('pointerdown', (mouse) => {
  drag = {x: mouse.clientX, y: mouse.clientY, view: {...view}, moved: false};
  map.focus({preventScroll: true});
  if (mouse.isTrusted) map.setPointerCapture(mouse.pointerId);
});
map.addEventListener('pointermove', (mouse) => {
  if (!drag) return;
  const dx = mouse.clientX - drag.x, dy = mouse.clientY - drag.y;
  if (Math.hypot(dx, dy) > 4) drag.moved = true;
  if (!drag.moved) return;
  const plot = plotOf({width: map.clientWidth, height: map.clientHeight});
  const x = -dx / plot.width * (drag.view.x1 - drag.view.x0), y = -dy / plot.height * (drag.view.frame1 - drag.view.frame0);
  setView({frame0: drag.view.frame0 + y, frame1: drag.view.frame1 + y, x0: drag.view.x0 + x, x1: drag.view.x1 + x});
});
map.addEventListener('pointerup', (mouse) => {
  if (drag && !drag.moved) clickAt(placeOf(mouse));
  drag = null;
});
map.addEventListener('pointercancel', () => { drag = null; });
map.addEventListener('wheel', (mouse) => {
  mouse.preventDefault();
  const place = placeOf(mouse), factor = Math.exp(-(mouse.deltaY || mouse.deltaX) / 400);
  if (mouse.shiftKey) zoomFrames(factor, place.frame + 0.5);
  else zoomTime(factor, place.x);
}, {passive: false});
strip.addEventListener('click', (mouse) => {
  const x = placeOf(mouse).x;
  const nearest = refusals.reduce((best, r) => best === null || Math.abs(xOf(r.event) - x) < Math.abs(xOf(best.event) - x) ? r : best, null);
  if (nearest) showRefusal(nearest);
});

function moveMark(columns, rows) {
  const start = selected.frame ?? Math.floor((view.frame0 + view.frame1) / 2);
  const perRow = Math.max(1, Math.round((view.frame1 - view.frame0) / Math.max(1, map.clientHeight) * 4));
  const step = (view.x1 - view.x0) / 200;
  let event = selected.event;
  if (columns) event = eventOf(xOf(event) + columns * step);
  if (columns && Math.round(event) === selected.event) event += columns;
  mark(Math.max(facts.first_frame, Math.min(facts.end_frame - 1, start + rows * perRow)), event);
}
function showLoan(i) {
  if (i >= 0) select(loans.frame[i], loans.begin[i]);
}
document.getElementById('grant-strip').addEventListener('click', (mouse) => {
  const row = Math.floor((mouse.clientY - mouse.target.getBoundingClientRect().top) / pairRow), x = placeOf(mouse).x;
  let best = -1;
  for (let i = 0; i < loans.count; ++i)
    if (loans.pair[i] === row && (best < 0 || Math.abs(xOf(loans.begin[i]) - x) < Math.abs(xOf(loans.begin[best]) - x))) best = i;
  showLoan(best);
});
document.getElementById('colours').addEventListener('change', (change) => setColours(change.target.value));
function setColours(next) {
  colours = next;
  document.getElementById('colours').value = next;
  recolour();
}
const actions = {
  'time-in': () => zoomTime(2, selected.frame === null ? undefined : xOf(selected.event)),
  'time-out': () => zoomTime(0.5), 'frames-in': () => zoomFrames(2, selected.frame === null ? undefined : selected.frame + 0.5),
  'frames-out': () => zoomFrames(0.5), 'whole': () => setView(whole()),
  'next-grant': () => showLoan(loans ? loans.next(selected.event) : -1),
  'previous-grant': () => showLoan(loans ? loans.previous(selected.event) : -1),
  'next': () => refusals.length && showRefusal(refusals[(shownRefusal + 1) % refusals.length]),
  'previous': () => refusals.length && showRefusal(refusals[(Math.max(shownRefusal, 0) + refusals.length - 1) % refusals.length]),
};
const keys = {
  '+': actions['time-in'], '=': actions['time-in'], '-': actions['time-out'], 'PageDown': actions['frames-in'],
  'PageUp': actions['frames-out'], '0': actions.whole, 'n': actions.next, 'p': actions.previous, 'g': (shift) => actions[shift ? 'previous-grant' : 'next-grant'](),
  'ArrowLeft': (shift) => shift ? pan(-0.2, 0) : moveMark(-1, 0), 'ArrowRight': (shift) => shift ? pan(0.2, 0) : moveMark(1, 0),
  'ArrowUp': (shift) => shift ? pan(0, -0.2) : moveMark(0, -1), 'ArrowDown': (shift) => shift ? pan(0, 0.2) : moveMark(0, 1),
  'Enter': () => { if (selected.frame === null) moveMark(0, 0); select(selected.frame, selected.event); },
};
map.addEventListener('keydown', (key) => {
  const action = keys[key.key.length === 1 ? key.key.toLowerCase() : key.key];
  if (!action || key.ctrlKey || key.metaKey || key.altKey) return;
  key.preventDefault();
  action(key.shiftKey);
});
const controls = document.getElementById('controls');
controls.addEventListener('click', (click) => actions[click.target.dataset.do]?.());
controls.addEventListener('submit', (submit) => {
  submit.preventDefault();
  const frame = document.getElementById('go-frame').value.trim(), event = document.getElementById('go-event').value.trim().replaceAll(',', '');
  const wanted = frame === '' ? selected.frame : Number(frame);
  if (Number.isNaN(wanted) || Number.isNaN(Number(event)) || wanted !== null && (wanted < 0 || wanted >= facts.frames)) {
    document.getElementById('status').textContent = 'A frame is a number such as 496 or 0x1f0, within the machine; an event is a number.';
    return;
  }
  select(wanted, event === '' ? selected.event : Number(event));
});
document.getElementById('axis').addEventListener('change', (change) => setAxis(change.target.value));
function setAxis(next) {
  const e0 = eventOf(view.x0), e1 = eventOf(view.x1);
  axis = next;
  document.getElementById('axis').value = next;
  setView({...view, x0: xOf(e0), x1: Math.max(xOf(e1), xOf(e0))});
}

function describe() {
  const name = facts.file ? `MMU events of ${facts.file}` : 'MMU events';
  document.title = name;
  document.getElementById('title').textContent = name;
  const about = domains ? `${grouped(numberOfDomain.size)} domains` : `Domain ${facts.domain}, ${facts.vcpus} ${facts.vcpus === 1 ? 'vCPU' : 'vCPUs'}`;
  document.getElementById('colour-choice').hidden = document.getElementById('grant-keys').hidden = !domains;
  if (domains) classes[ABSENT].name = 'nobody’s', classes[CLASS_OTHERS].name = OF_UNKNOWN;
  document.getElementById('summary').textContent = `${about}; a machine of ${grouped(facts.frames)} frames (${facts.frames < 2560 ? `${facts.frames * 4} KiB` : `${grouped(Math.round(facts.frames / 256))} MiB`}); `
    + `${grouped(facts.events)} events in ${duration(facts.duration_ns)}, from ${new Date(facts.started_ns / 1e6).toISOString().replace('T', ' ').slice(0, 19)} UTC.`;
  document.getElementById('notes').append(...facts.notes.map((note) => element('li', {}, note)));
}

// What follows # in the address: frame=0x1f0&event=123&refusal=0&axis=time&colours=owner&frames=0x100-0x200&events=0-500
function followAddress() {
  const wanted = new URLSearchParams(location.hash.slice(1));
  if (domains && wanted.has('colours')) setColours(wanted.get('colours') === 'owner' ? 'owner' : 'type');
  if (wanted.has('axis')) setAxis(wanted.get('axis') === 'time' ? 'time' : 'event');
  const range = (name) => wanted.get(name).split('-').map(Number);
  const next = {...view};
  if (wanted.has('frames')) [next.frame0, next.frame1] = range('frames');
  if (wanted.has('events')) [next.x0, next.x1] = range('events').map(xOf);
  setView(next);
  if (wanted.has('frame') || wanted.has('event'))
    select(wanted.has('frame') ? Number(wanted.get('frame')) : null, Number(wanted.get('event') ?? selected.event));
  const refusal = refusals[wanted.get('refusal') ?? -1];
  if (refusal) {
    select(frameOf(refusal), refusal.event);
    showRefusal(refusal);
  }
}

function recolour() {
  readPalette();
  drawLegend();
  image = null;
  if (view) draw(true);
}
describe();
readPalette();
view = whole();
drawLegend();
listRefusals();
listLoans();
followAddress();
draw(true);
cancelAnimationFrame(pending);
pending = 0;
new ResizeObserver(redraw).observe(map);
window.addEventListener('hashchange', followAddress);
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', recolour);
// Paper is light, and the picture is drawn before the browser says that it is paper.
for (const [event, printing] of [['beforeprint', true], ['afterprint', false]]) {
  window.addEventListener(event, () => {
    document.documentElement.classList.toggle('printing', printing);
    recolour();
  });
}
// The trees need what is not decoded before it is asked for.
setTimeout(() => {
  if (selected.frame === null) showTree(null, selected.event);
});
// For those who test: where on the screen a frame is at an event.
map.pixelOf = (frame, event) => {
  const box = map.getBoundingClientRect(), plot = plotOf({width: map.clientWidth, height: map.clientHeight});
  return {x: box.left + map.clientLeft + xToPixel(event, plot), y: box.top + map.clientTop + yToPixel(frame, plot)};
};
// For those who measure: milliseconds from the begin of loading to the picture, and to make it once more.
document.documentElement.dataset.openedMs = performance.now().toFixed(0);
draw(true);
{
  const begin = performance.now();
  image = counted = null;
  draw(true);
  document.documentElement.dataset.redrawMs = (performance.now() - begin).toFixed(1);
}
