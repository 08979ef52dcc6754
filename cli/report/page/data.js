// What the page is given: facts as JSON, the rest as varints (seven bits a byte, low ones first) in base64.

const facts = JSON.parse(document.getElementById('facts').textContent);

class Bytes {
  constructor(id) {
    const text = atob(document.getElementById(id).textContent.trim());
    this.bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; ++i) this.bytes[i] = text.charCodeAt(i);
    this.at = 0;
  }
  byte() { return this.bytes[this.at++]; }
  varint() {
    let value = 0, scale = 1, next;
    do {
      next = this.bytes[this.at++];
      value += (next & 127) * scale;
      scale *= 128;
    } while (next > 127);
    return value;
  }
  signed() {
    const value = this.varint();
    return value % 2 ? -(value + 1) / 2 : value / 2;
  }
}

// A frame's look: the type, or absent; what it is besides.
const ABSENT = 7, TYPE = 7, PINNED = 8, SPECIAL = 16, OTHERS = 32, OWNED_BY = 64;
// What is drawn of it: a class. Those of types have the types' numbers.
const CLASS_OTHERS = 8, CLASS_SPECIAL = 9, CLASSES = 10;
const classOfLook = new Uint8Array(64);
for (let look = 0; look < 64; ++look) {
  classOfLook[look] = (look & TYPE) === ABSENT ? (look & OTHERS ? CLASS_OTHERS : ABSENT)
    : (look & TYPE) === 0 && look & SPECIAL ? CLASS_SPECIAL : look & TYPE;
}
const classes = [
  {name: 'no type', letter: '·', css: '--none'}, {name: 'L1 table', letter: '1', css: '--l1'},
  {name: 'L2 table', letter: '2', css: '--l2'}, {name: 'L3 table', letter: '3', css: '--l3'},
  {name: 'L4 table', letter: '4', css: '--l4'}, {name: 'descriptors', letter: 'D', css: '--desc'},
  {name: 'writable', letter: 'W', css: '--writable'}, {name: 'not the domain’s', letter: '', css: '--absent'},
  {name: 'another domain’s', letter: 'X', css: '--others'}, {name: 'pinfold’s, shared', letter: 'S', css: '--special'}];
const isTable = (c) => c >= 1 && c <= 4;
function nameOfLook(look) { return classes[classOfLook[look]].name + (look & PINNED ? ', pinned' : ''); }

// Runs of neighbouring frames with one history each.
class Runs {
  constructor() {
    const from = new Bytes('runs');
    this.count = from.varint();
    const changes = from.varint();
    this.first = new Uint32Array(this.count);
    this.frames = new Uint32Array(this.count);
    this.begin = new Uint32Array(this.count + 1);
    this.event = new Uint32Array(changes);
    this.look = new Uint8Array(changes);
    this.owner = new Uint8Array(changes);
    let frame = 0, at = 0;
    for (let run = 0; run < this.count; ++run) {
      frame += from.varint();
      this.first[run] = frame;
      this.frames[run] = from.varint();
      frame += this.frames[run];
      this.begin[run] = at;
      let event = 0;
      for (let left = from.varint(); left > 0; --left, ++at) {
        event += from.varint();
        this.event[at] = event;
        const look = from.byte();
        this.look[at] = look & ~OWNED_BY;
        if (look & OWNED_BY) this.owner[at] = from.byte();
      }
    }
    this.begin[this.count] = at;
  }
  // The first run that ends after the frame.
  from(frame) {
    let low = 0, high = this.count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.first[middle] + this.frames[middle] <= frame) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  // The run that the frame is in, or -1.
  of(frame) {
    const run = this.from(frame);
    return run < this.count && this.first[run] <= frame ? run : -1;
  }
  // The run's last change up to the event, or one before its first.
  changeAt(run, event) {
    let low = this.begin[run], high = this.begin[run + 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.event[middle] <= event) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
  lookAt(run, event) {
    const change = run < 0 ? -1 : this.changeAt(run, event);
    return run < 0 || change < this.begin[run] ? ABSENT : this.look[change];
  }
  ownerAt(run, event) {
    const change = run < 0 ? -1 : this.changeAt(run, event);
    return run < 0 || change < this.begin[run] ? 0 : this.owner[change];
  }
  // The last event after which some frame was an L4 table, or -1.
  lastRoot() {
    let last = -1;
    for (let run = 0; run < this.count; ++run) {
      for (let at = this.begin[run]; at < this.begin[run + 1]; ++at) {
        if (classOfLook[this.look[at]] !== 4) continue;
        last = Math.max(last, at + 1 < this.begin[run + 1] ? this.event[at + 1] - 1 : facts.shown - 1);
      }
    }
    return last;
  }
}

// Entries that name tables, by parent; decoded when somebody asks.
class Links {
  constructor() {
    const from = new Bytes('links');
    const count = from.varint();
    this.parent = new Uint32Array(count);
    this.child = new Uint32Array(count);
    this.slot = new Uint16Array(count);
    this.begin = new Uint32Array(count);
    this.end = new Uint32Array(count);
    let parent = 0, child = 0;
    for (let i = 0; i < count; ++i) {
      this.parent[i] = parent += from.varint();
      this.child[i] = child += from.signed();
      this.slot[i] = from.varint();
      this.begin[i] = from.varint();
      this.end[i] = this.begin[i] + from.varint();
    }
    this.byChild = Uint32Array.from(this.parent.keys()).sort((a, b) => this.child[a] - this.child[b] || a - b);
  }
  static firstAt(count, key, wanted) {
    let low = 0, high = count;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (key(middle) < wanted) low = middle + 1;
      else high = middle;
    }
    return low;
  }
  // Numbers of all links from the table, or to it.
  ofParent(frame) {
    const all = [];
    for (let i = Links.firstAt(this.parent.length, (k) => this.parent[k], frame); this.parent[i] === frame; ++i) all.push(i);
    return all;
  }
  ofChild(frame) {
    const all = [];
    let i = Links.firstAt(this.byChild.length, (k) => this.child[this.byChild[k]], frame);
    for (; i < this.byChild.length && this.child[this.byChild[i]] === frame; ++i) all.push(this.byChild[i]);
    return all;
  }
  isAt(link, event) { return this.begin[link] <= event && event < this.end[link]; }
}

// When events were.
class Times {
  constructor() {
    const from = new Bytes('times');
    const count = from.varint();
    this.event = new Float64Array(count);
    this.ns = new Float64Array(count);
    let event = 0, ticks = 0;
    for (let i = 0; i < count; ++i) {
      this.event[i] = event += from.varint();
      this.ns[i] = (ticks += from.varint()) * 1e9 / facts.ticks_per_second;
    }
  }
  static between(xs, ys, x) {
    if (xs.length === 0) return 0;
    let low = 0, high = xs.length - 1;
    if (x <= xs[0]) return ys[0];
    if (x >= xs[high]) return ys[high];
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (xs[middle] <= x) low = middle;
      else high = middle;
    }
    return ys[low] + (ys[high] - ys[low]) * (xs[high] > xs[low] ? (x - xs[low]) / (xs[high] - xs[low]) : 0);
  }
  nsOf(event) { return Times.between(this.event, this.ns, event); }
  eventAt(ns) { return Times.between(this.ns, this.event, ns); }
}

const runs = new Runs(), times = new Times();
const refusals = JSON.parse(document.getElementById('refusals-data').textContent);
let links_ = null;
function links() { return links_ ??= new Links(); }

const hex = (n) => '0x' + n.toString(16);
const grouped = (n) => n.toLocaleString('en');
function duration(ns) {
  if (ns < 1e3) return ns.toFixed(0) + ' ns';
  if (ns < 1e6) return (ns / 1e3).toFixed(1) + ' µs';
  if (ns < 1e9) return (ns / 1e6).toFixed(3) + ' ms';
  return (ns / 1e9).toFixed(3) + ' s';
}
