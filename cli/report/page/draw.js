// From dots to pixels.

const patternSize = 24;
// Which pixels of a pattern are shaded, by class: so that classes differ also without colour.
const patterns = [
  () => false,                                    // no type
  (x, y) => y % 4 === 0,                          // L1: lines across
  (x, y) => x % 4 === 0,                          // L2: lines down
  (x, y) => (x + y) % 6 < 2,                      // L3: diagonals
  (x, y) => (Math.floor(x / 3) + Math.floor(y / 3)) % 2 === 0,  // L4: squares
  (x, y) => x % 4 < 2 && y % 4 < 2,               // descriptors: dots
  () => false,                                    // writable
  (x, y) => (x - y + 240) % 12 === 0,             // absent: thin diagonals
  (x, y) => (x + y) % 8 === 0 || (x - y + 240) % 8 === 0,  // another's: crossed
  (x, y) => y % 8 < 4 && x % 8 === (y % 8 < 2 ? 0 : 4),    // shared
];

// Of owners: the first eight plain, the next eight with dots; tables and descriptors of each with lines.
const ownerColours = Array.from({length: OWNERS}, (_, i) => i < 2 * OWN_COLOURS ? `--owner${i % OWN_COLOURS}` : '--others');
const ownerTiles = ownerColours.flatMap((css, i) => {
  const dotted = (x, y) => i >= OWN_COLOURS && x % 6 < 2 && y % 6 < 2;
  return [{css, pattern: dotted}, {css, pattern: (x, y) => (x + y) % 6 < 3 || dotted(x, y)}];
});

let palette = null;
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const rgb = (name) => {
    const hexes = style.getPropertyValue(name).trim().replace(/^#(.)(.)(.)$/, '#$1$1$2$2$3$3');
    return [1, 3, 5].map((i) => parseInt(hexes.slice(i, i + 2), 16));
  };
  const pixel = ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;
  const mixed = (a, b, part) => `rgb(${a.map((v, i) => Math.round(v * (1 - part) + b[i] * part)).join()})`;
  const shade = rgb('--shade'), line = rgb('--line');
  palette = {
    ink: style.getPropertyValue('--ink').trim(), faint: style.getPropertyValue('--faint').trim(),
    paper: style.getPropertyValue('--paper').trim(), line: style.getPropertyValue('--line').trim(),
    refused: style.getPropertyValue('--refused').trim(), focus: style.getPropertyValue('--focus').trim(),
    css: classes.map((c) => style.getPropertyValue(c.css).trim()),
    lines: classes.map((c) => mixed(rgb(c.css), rgb('--ink'), 0.3)),
    owners: ownerColours.map((name) => style.getPropertyValue(name).trim()),
    // [class][pixel of the pattern]
    tiles: [...classes.map((c) => c.css), ...ownerTiles.map((tile) => tile.css)].map((css, i) => {
      const plain = rgb(css), part = i < CLASSES ? 0.3 : 0.4;
      const dark = i === ABSENT ? line : plain.map((v, k) => Math.round(v * (1 - part) + shade[k] * part));
      const shaded = i < CLASSES ? patterns[i] : ownerTiles[i - CLASSES].pattern;
      const tile = new Uint32Array(patternSize * patternSize);
      for (let y = 0; y < patternSize; ++y)
        for (let x = 0; x < patternSize; ++x) tile[y * patternSize + x] = pixel(shaded(x, y) ? dark : plain);
      return tile;
    }),
  };
}

// The canvas at its size on the screen; null while it has none.
function prepare(canvas) {
  const scale = window.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale), height = Math.round(canvas.clientHeight * scale);
  if (width === 0 || height === 0) return null;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext('2d');
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = '11px system-ui, "DejaVu Sans", sans-serif';
  return {context, scale, width: canvas.clientWidth, height: canvas.clientHeight};
}

// Dots as an image of width × height device pixels, each class in its colour and pattern.
function paint(dots, rows, columns, width, height) {
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let y = 0; y < height; ++y) {
    const base = Math.floor(y * rows / height) * columns, tileRow = (y % patternSize) * patternSize;
    for (let x = 0, at = y * width; x < width; ++x, ++at)
      pixels[at] = palette.tiles[dots[base + x]][tileRow + x % patternSize];
  }
  return image;
}

const margin = {left: domains ? 98 : 84, right: 8, top: 6, bottom: 22, band: domains ? 24 : 10};

// Round numbers between two, about `wanted` of them.
function ticks(from, to, wanted, whole_) {
  const rough = (to - from) / Math.max(1, wanted);
  let step = Math.pow(10, Math.floor(Math.log10(rough)));
  for (const factor of [2, 5, 10]) if (step < rough) step = Math.pow(10, Math.floor(Math.log10(rough))) * factor;
  if (whole_) step = Math.max(1, Math.round(step));
  const all = [];
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) all.push(at);
  return all;
}
// Frames count in powers of two.
function frameTicks(from, to, wanted) {
  const step = Math.max(1, Math.pow(2, Math.ceil(Math.log2((to - from) / Math.max(1, wanted)))));
  const all = [];
  for (let at = Math.ceil(from / step) * step; at < to; at += step) all.push(at);
  return all;
}
const xLabel = (x) => axis === 'event' ? grouped(Math.round(x)) : (x / 1e9).toPrecision(6).replace(/\.?0+$/, '') + ' s';

function drawXAxis(area, view) {
  const {context, width, height} = area;
  context.fillStyle = palette.faint;
  context.textAlign = 'center';
  context.textBaseline = 'bottom';
  const plot = width - margin.left - margin.right;
  for (const x of ticks(view.x0, view.x1, plot / 110, axis === 'event')) {
    const at = margin.left + (x - view.x0) / (view.x1 - view.x0) * plot;
    context.fillRect(at, height - margin.bottom, 1, 4);
    const text = xLabel(x), half = context.measureText(text).width / 2;
    context.fillText(text, Math.min(width - half - 1, Math.max(half, at)), height - 3);
  }
}

function addToLegend(list, c, text) {
  const item = document.createElement('li'), swatch = document.createElement('canvas');
  item.append(swatch, text);
  list.append(item);
  swatch.setAttribute('aria-hidden', 'true');
  const area = prepare(swatch);
  if (area) area.context.putImageData(paint(new Uint8Array(swatch.width).fill(c), 1, swatch.width, swatch.width, swatch.height), 0, 0);
}

// Each domain with its colour: in the band beside the picture, and of what it maps by grants.
function drawOwnerLegend() {
  const list = document.getElementById('owners'), many = 16;
  list.textContent = '';
  list.hidden = false;
  const seen = new Set();
  for (const d of domains) {
    if (seen.has(d.number) || seen.size === many) continue;
    seen.add(d.number);
    const lives = domains.filter((other) => other.number === d.number);
    const ended = lives.at(-1).to === null ? '' : ` to ${grouped(lives.at(-1).to)}`;
    addToLegend(list, OWNER_CLASS + 2 * ownerOf(d.number), `d${d.id}  domain ${d.id}: events from ${grouped(d.from)}${ended}${lives.length > 1 ? `, begun ${lives.length} times` : ''}`);
  }
  const others = new Set(domains.map((d) => d.number)).size - seen.size;
  if (others > 0) addToLegend(list, OWNER_CLASS + 2 * ownerOf(2 * OWN_COLOURS), `${others} more`);
  const item = document.createElement('li');
  item.append('▬ mapped by a grant, in the colour of the domain that maps it');
  list.append(item);
}

function drawLegend() {
  const list = document.getElementById('legend');
  list.textContent = '';
  const shown = colours === 'owner' ? [ABSENT, CLASS_OTHERS] : [4, 3, 2, 1, 5, 6, 0, CLASS_SPECIAL, ABSENT, CLASS_OTHERS];
  for (const c of shown) addToLegend(list, c, classes[c].letter ? `${classes[c].letter}  ${classes[c].name}` : classes[c].name);
  if (domains) drawOwnerLegend();
  const item = document.createElement('li');
  item.append('▼ refusal');
  item.style.color = palette.refused;
  list.append(item);
}

// Letters in the parts that have room for them.
function drawLetters(context, view, plot) {
  const rowHeight = plot.height / (view.frame1 - view.frame0);
  if (rowHeight < 11) return;
  context.fillStyle = '#000';
  context.textAlign = 'left';
  context.textBaseline = 'middle';
  const edges = columnEdges(view, Math.floor(plot.width));
  let left = 3000;
  for (let frame = view.frame0; frame < view.frame1; ++frame) {
    const run = runs.of(frame);
    if (run < 0) continue;
    const y = plot.top + (frame - view.frame0 + 0.5) * rowHeight;
    forEachPiece(run, edges, (c, from, to, look) => {
      const text = classes[classOfLook[look]].letter + (look & PINNED ? ' pinned' : '');
      if (text === '' || classOfLook[look] === 0 || left === 0 || to - from < 14) return;
      if (to - from < 52 && text.length > 1) return;
      --left;
      const x = plot.left + Math.max(0, from) + 3, width = context.measureText(text).width;
      context.fillStyle = 'rgba(255,255,255,.75)';
      context.fillRect(x - 1, y - 6, width + 2, 12);
      context.fillStyle = '#000';
      context.fillText(text, x, y + 0.5);
    });
  }
}

// Mappings by grants: a line along the frame's row, from the event that made the mapping to the one that ended it.
function drawLoans(context, view, plot) {
  if (!loans) return;
  const rowHeight = plot.height / (view.frame1 - view.frame0);
  const thick = Math.max(3, Math.min(6, rowHeight / 3)), places = new Map();
  for (let i = 0; i < loans.count; ++i) {
    const frame = loans.frame[i];
    if (frame < view.frame0 || frame >= view.frame1) continue;
    const from = Math.max(plot.left, xToPixel(loans.begin[i], plot)), to = Math.min(plot.left + plot.width, xToPixel(loans.end[i], plot));
    if (to < plot.left || from > plot.left + plot.width) continue;
    const y = Math.round(yToPixel(frame, plot) - thick / 2), number = ownerOf(numberOfDomain.get(loans.mapper(i)) ?? 2 * OWN_COLOURS);
    // What looks the same is drawn once.
    places.set(`${Math.round(from)} ${Math.round(to)} ${y} ${number}`, [from, Math.max(3, to - from), y, number]);
  }
  for (const [from, length, y, number] of places.values()) {
    context.fillStyle = palette.ink;
    context.fillRect(from - 1, y - 1, length + 2, thick + 2);
    context.fillStyle = palette.owners[number];
    context.fillRect(from, y, length, thick);
  }
}

// The same beside the picture for several domains: each in its colour, with its number where there is room.
function drawOwnerBand(context, view, plot, event) {
  const rows = Math.floor(plot.height), owner = new Int16Array(rows).fill(-1);
  const scale = rows / (view.frame1 - view.frame0);
  for (let run = runs.from(view.frame0); run < runs.count && runs.first[run] < view.frame1; ++run) {
    const look = runs.lookAt(run, event);
    if ((look & TYPE) === ABSENT) continue;
    const from = Math.max(0, Math.floor((runs.first[run] - view.frame0) * scale));
    const to = Math.min(rows, Math.max(from + 1, Math.ceil((runs.first[run] + runs.frames[run] - view.frame0) * scale)));
    owner.fill(runs.ownerAt(run, event), from, to);
  }
  const left = plot.left - margin.band - 2, width = margin.band - 2;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  for (let from = 0, to; from < rows; from = to) {
    for (to = from + 1; to < rows && owner[to] === owner[from];) ++to;
    if (owner[from] < 0) continue;
    context.fillStyle = palette.owners[ownerOf(owner[from])];
    context.fillRect(left, plot.top + from, width, to - from);
    context.fillStyle = palette.ink;
    if (to - from > 2) context.fillRect(left, plot.top + to - 1, width, 1);
    if (to - from < 13 || idOfNumber(owner[from]) === null) continue;
    context.fillText(`d${idOfNumber(owner[from])}`, left + width / 2, plot.top + (from + to) / 2);
  }
  context.strokeStyle = palette.line;
  context.strokeRect(left + 0.5, plot.top + 0.5, width - 1, rows - 1);
}

// One row for each pair of domains: how many mappings were made, and when. Answers the number of rows.
const pairRow = 22, pairRowsShown = 8;
function drawGrants(canvas, view) {
  const pairs = facts.pairs.slice(0, pairRowsShown);
  canvas.style.height = `${Math.max(1, pairs.length) * pairRow + 2}px`;
  const area = prepare(canvas);
  if (!area) return;
  const {context, width} = area, plot = width - margin.left - margin.right, columns = Math.floor(plot);
  const edges = columnEdges(view, columns);
  context.textBaseline = 'middle';
  pairs.forEach((pair, row) => {
    const bars = new Float64Array(columns), top = row * pairRow;
    let most = 0;
    pair.maps_in.forEach((maps, i) => {
      if (maps === 0 || i * pair.bucket >= edges[columns] || (i + 1) * pair.bucket <= edges[0]) return;
      const from = Math.min(columnOf(edges, i * pair.bucket), columns - 1), to = Math.min(columnOf(edges, (i + 1) * pair.bucket), columns);
      for (let x = from; x < Math.max(from + 1, to); ++x) most = Math.max(most, bars[x] = Math.max(bars[x], maps));
    });
    context.fillStyle = palette.line;
    context.fillRect(margin.left, top + pairRow - 1, plot, 1);
    const number = ownerOf(numberOfDomain.get(pair.mapper) ?? 2 * OWN_COLOURS);
    for (let x = 0; x < columns; ++x) {
      if (bars[x] === 0) continue;
      const tall = Math.max(4, (pairRow - 5) * Math.log10(1 + bars[x]) / Math.log10(1 + most));
      context.fillStyle = palette.ink;
      context.fillRect(margin.left + x, top + pairRow - 2 - tall, 2, tall);
      context.fillStyle = palette.owners[number];
      context.fillRect(margin.left + x, top + pairRow - 1 - tall, 2, tall - 2);
    }
    context.fillStyle = palette.faint;
    context.textAlign = 'right';
    context.fillText(`d${pair.mapper} ← ${pair.lender === null ? '?' : `d${pair.lender}`}`, margin.left - 6, top + pairRow / 2);
  });
}

// Who owned the frames at an event, beside the picture: filled the domain, hatched nobody we know, crossed another domain.
function drawOwners(context, view, plot, event) {
  const rows = Math.floor(plot.height), own = new Uint8Array(rows), other = new Uint8Array(rows);
  for (let run = runs.from(view.frame0); run < runs.count && runs.first[run] < view.frame1; ++run) {
    const look = runs.lookAt(run, event);
    if (look === ABSENT) continue;
    const scale = rows / (view.frame1 - view.frame0);
    const from = Math.max(0, Math.floor((runs.first[run] - view.frame0) * scale));
    const to = Math.min(rows, Math.max(from + 1, Math.ceil((runs.first[run] + runs.frames[run] - view.frame0) * scale)));
    (look & OTHERS ? other : own).fill(1, from, to);
  }
  const left = plot.left - margin.band - 2;
  for (let y = 0; y < rows; ++y) {
    context.fillStyle = own[y] ? palette.ink : other[y] ? palette.css[CLASS_OTHERS] : palette.paper;
    if (other[y] && y % 4 < 2) context.fillStyle = palette.ink;
    context.fillRect(left, plot.top + y, margin.band - 2, 1);
  }
  context.strokeStyle = palette.line;
  context.strokeRect(left + 0.5, plot.top + 0.5, margin.band - 3, rows - 1);
}

const lines = [
  {of: 4, dash: [], label: 'L4'}, {of: 3, dash: [6, 2], label: 'L3'}, {of: 2, dash: [2, 2], label: 'L2'},
  {of: 1, dash: [10, 3, 2, 3], label: 'L1'}, {of: 5, dash: [1, 3], label: 'descriptors'},
  {of: CLASSES, dash: [14, 4], label: 'pinned'}];

// Tables by level, logarithmic: there are a thousand times more L1 than L4. `counts`: of countByColumn.
function drawChart(area, view, counts, columns) {
  const {context, width, height} = area;
  const plotHeight = height - margin.top - margin.bottom;
  let most = 10;
  for (const line of lines) for (let i = 0; i < columns; ++i) most = Math.max(most, counts[line.of][i]);
  const y = (n) => margin.top + plotHeight * (1 - Math.log10(1 + n) / Math.log10(1 + most * 1.2));
  context.textBaseline = 'middle';
  context.textAlign = 'right';
  for (let tick = 1; tick <= most * 1.2; tick *= 10) {
    context.fillStyle = palette.faint;
    context.fillText(grouped(tick), margin.left - 6, y(tick));
    context.fillStyle = palette.line;
    context.fillRect(margin.left, Math.round(y(tick)), width - margin.left - margin.right, 1);
  }
  const plot = width - margin.left - margin.right;
  lines.forEach((line, index) => {
    const of = counts[line.of];
    context.strokeStyle = line.of < CLASSES ? palette.lines[line.of] : palette.ink;
    context.lineWidth = line.of < CLASSES ? 2.2 : 1.2;
    context.setLineDash(line.dash);
    context.beginPath();
    for (let i = 0; i < columns; ++i) {
      const x = margin.left + i * plot / columns;
      if (i === 0) context.moveTo(x, y(of[i]));
      else if (of[i] !== of[i - 1]) context.lineTo(x, y(of[i - 1])), context.lineTo(x, y(of[i]));
    }
    context.lineTo(margin.left + plot, y(of[columns - 1]));
    context.stroke();
    context.setLineDash([]);
    const at = Math.floor(columns * (0.12 + 0.14 * index));
    context.textAlign = 'center';
    const labelWidth = context.measureText(line.label).width;
    context.fillStyle = palette.paper;
    context.fillRect(margin.left + at * plot / columns - labelWidth / 2 - 2, y(of[at]) - 7, labelWidth + 4, 14);
    context.fillStyle = palette.ink;
    context.fillText(line.label, margin.left + at * plot / columns, y(of[at]));
  });
  drawXAxis(area, view);
}

// All refusals as bars, those that are listed as marks above.
function drawStrip(area, view) {
  const {context, width, height} = area;
  const plot = width - margin.left - margin.right, columns = Math.floor(plot);
  const edges = columnEdges(view, columns), bars = new Float64Array(columns);
  let most = 0;
  for (let i = 0; i < facts.refused.length; ++i) {
    if (facts.refused[i] === 0) continue;
    const from = columnOf(edges, i * facts.bucket), to = columnOf(edges, (i + 1) * facts.bucket);
    if (i * facts.bucket >= edges[columns] || (i + 1) * facts.bucket < edges[0]) continue;
    for (let x = Math.min(from, columns - 1); x < Math.max(Math.min(from, columns - 1) + 1, Math.min(to, columns)); ++x)
      most = Math.max(most, bars[x] = Math.max(bars[x], facts.refused[i]));
  }
  context.fillStyle = palette.refused;
  for (let x = 0; x < columns; ++x) {
    if (bars[x] === 0) continue;
    const tall = Math.max(2, (height - 4) * Math.log10(1 + bars[x]) / Math.log10(1 + most));
    context.fillRect(margin.left + x, height - tall, 1, tall);
  }
  context.fillStyle = palette.faint;
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  context.fillText(most ? `at most ${grouped(most)}` : 'none', margin.left - 6, height / 2);
}
