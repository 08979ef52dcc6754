// From histories to dots: what is where, without anything that draws.

// The range that is shown: frames [frame0, frame1), whole ones; events or times [x0, x1), by the axis.
const whole = () => ({frame0: facts.first_frame, frame1: facts.end_frame, x0: 0, x1: xEnd()});
let axis = 'event';
// What the picture's colours show: types of frames, or their owners.
let colours = 'type';
const xEnd = () => Math.max(1, axis === 'event' ? facts.shown : facts.duration_ns);
const xOf = (event) => axis === 'event' ? event : times.nsOf(event);
const eventOf = (x) => axis === 'event' ? x : times.eventAt(x);

// The events at which columns begin, one more than there are columns; times run as on the axis.
function columnEdges(view, columns) {
  const edges = new Float64Array(columns + 1);
  for (let i = 0; i <= columns; ++i) {
    const x = view.x0 + (view.x1 - view.x0) * i / columns;
    edges[i] = Math.ceil(eventOf(x) - 1e-6);
  }
  // What is after the last event stays as it was after it.
  if (view.x1 >= xEnd()) edges[columns] = Math.max(edges[columns], facts.shown);
  return edges;
}

// The first column that begins at the event or after it.
function columnOf(edges, event) {
  let low = 0, high = edges.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (edges[middle] < event) low = middle + 1;
    else high = middle;
  }
  return low;
}

// Calls piece(class, column from, column to, look) for each part of the run's history that is in the columns. What lasts
// less than a column has from = to.
function forEachPiece(run, edges, piece) {
  const columns = edges.length - 1, end = runs.begin[run + 1];
  let change = Math.max(runs.changeAt(run, edges[0]), runs.begin[run]);
  if (change >= end) return;
  let column = runs.event[change] <= edges[0] ? 0 : columnOf(edges, runs.event[change]);
  while (change < end && column < columns) {
    const next = change + 1;
    const to = next < end && runs.event[next] < edges[columns] ? Math.min(columns, columnOf(edges, runs.event[next])) : columns;
    const look = runs.look[change];
    piece(colours === 'owner' ? ownerClass(look, runs.owner[change]) : classOfLook[look], column, to, look);
    if (to === columns && (next >= end || runs.event[next] >= edges[columns])) return;
    column = to;
    change = next;
  }
}

// A class for each dot of rows × columns. Rows divide the view's frames evenly.
function rasterize(view, rows, columns) {
  const out = new Uint8Array(rows * columns).fill(ABSENT);
  const edges = columnEdges(view, columns);
  const perRow = (view.frame1 - view.frame0) / rows;
  const width = columns + 1, count = colours === 'owner' ? ALL_CLASSES : CLASSES, diff = new Int32Array(width * count);
  const isRare = (c) => c >= OWNER_CLASS ? (c - OWNER_CLASS) % 2 === 1 : c >= 1 && c <= 5;
  let row = -1, touched = false;
  const flush = () => {
    if (!touched) return;
    const n = new Int32Array(count);
    for (let column = 0, base = row * columns; column < columns; ++column) {
      let best = ABSENT, most = 0;
      for (let c = 0; c < count; ++c) {
        n[c] += diff[c * width + column];
        if (c !== ABSENT && n[c] > most && !isRare(c)) {
          most = n[c];
          best = c;
        }
      }
      for (const c of [5, 1, 2, 3, 4]) if (n[c] > 0) best = c;
      for (let c = OWNER_CLASS + 1, rare = 0; c < count; c += 2) if (n[c] > rare) rare = n[c], best = c;
      out[base + column] = best;
    }
    diff.fill(0);
    touched = false;
  };
  const pieces = [];
  for (let run = runs.from(view.frame0); run < runs.count && runs.first[run] < view.frame1; ++run) {
    pieces.length = 0;
    forEachPiece(run, edges, (c, from, to) => {
      if (c === ABSENT) return;
      // A table that was there shows, however short.
      if (from === to && isRare(c)) ++to;
      if (from < to) pieces.push(c, from, Math.min(to, columns));
    });
    if (pieces.length === 0) continue;
    const first = Math.max(runs.first[run], view.frame0);
    const last = Math.min(runs.first[run] + runs.frames[run], view.frame1) - 1;
    const endRow = Math.min(rows - 1, Math.floor((last - view.frame0) / perRow));
    for (let r = Math.floor((first - view.frame0) / perRow); r <= endRow; ++r) {
      if (r !== row) {
        flush();
        row = r;
      }
      touched = true;
      const rowFirst = view.frame0 + r * perRow;
      const weight = Math.max(1, Math.round(Math.min(last + 1, rowFirst + perRow) - Math.max(first, rowFirst)));
      for (let i = 0; i < pieces.length; i += 3) {
        diff[pieces[i] * width + pieces[i + 1]] += weight;
        diff[pieces[i] * width + pieces[i + 2]] -= weight;
      }
    }
  }
  flush();
  return out;
}

// How many frames of the whole machine were what, at the end of each column: [class][column], and pins last.
function countByColumn(view, columns) {
  const edges = columnEdges(view, columns);
  const counts = Array.from({length: CLASSES + 1}, () => new Int32Array(columns + 1));
  for (let run = 0; run < runs.count; ++run) {
    const weight = runs.frames[run];
    forEachPiece(run, edges, (_, from, to, look) => {
      const c = classOfLook[look];
      counts[c][from] += weight;
      counts[c][to] -= weight;
      if ((look & PINNED) === 0) return;
      counts[CLASSES][from] += weight;
      counts[CLASSES][to] -= weight;
    });
  }
  for (const of of counts) for (let column = 1; column < columns; ++column) of[column] += of[column - 1];
  return counts;
}
