// Several domains in one log: whose frames are which, and what they map of each other by grants.

// Null in the report of one domain.
const domains = facts.domains ?? null;
// By a look's number; a domain that began again has the number that it had.
const domainOfNumber = new Map((domains ?? []).map((d) => [d.number, d.id]));
const numberOfDomain = new Map((domains ?? []).map((d) => [d.id, d.number]));
const idOfNumber = (number) => domainOfNumber.has(number) ? domainOfNumber.get(number) : null;
const domainName = (id) => id === null ? 'a domain that the log does not name' : `domain ${id}`;

// Colours by number: each of the first eight has its own, the next eight the same with another pattern, later ones one together.
const OWN_COLOURS = 8, OWNERS = 2 * OWN_COLOURS + 1;
const ownerOf = (number) => number < 2 * OWN_COLOURS ? number : 2 * OWN_COLOURS;
// What is drawn of frames by owner: classes after those of types, two for each owner: pages, and tables and descriptors.
const OWNER_CLASS = 10;
const ownerClass = (look, number) => {
  const c = classOfLook[look];
  return c === ABSENT || c === CLASS_OTHERS ? c : OWNER_CLASS + 2 * ownerOf(number) + (c >= 1 && c <= 5 ? 1 : 0);
};
const ALL_CLASSES = OWNER_CLASS + 2 * OWNERS;

const OF_UNKNOWN = 'a domain’s that the log is not about';

// The last event at which as many domains lived as at any other.
function lastCompany() {
  const end = facts.shown, changes = domains.flatMap((d) => [[d.from, 1], [d.to ?? end, -1]]);
  changes.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let living = 0, most = 0, last = 0;
  changes.forEach(([event, by], i) => {
    if (by < 0 && living === most) last = event - 1;
    living += by;
    if (living > most) most = living;
  });
  return Math.min(last, end - 1);
}

// Whose frames and what they are: "domain 2’s, L1 table".
function nameOfFrame(look, number) {
  if (!domains) return nameOfLook(look);
  if ((look & TYPE) === ABSENT) return look & OTHERS ? OF_UNKNOWN : 'nobody’s';
  const id = idOfNumber(number);
  return `${id === null ? 'a later domain' : `domain ${id}`}’s, ${nameOfLook(look)}`;
}

// Mappings by grants, in the order in which they were made.
class Loans {
  constructor() {
    const from = new Bytes('loans');
    const count = from.varint();
    this.pair = new Uint16Array(count);
    this.writable = new Uint8Array(count);
    this.slot = new Uint16Array(count);
    this.grant = new Uint32Array(count);
    this.frame = new Uint32Array(count);
    this.table = new Uint32Array(count);
    this.begin = new Uint32Array(count);
    this.end = new Uint32Array(count);
    let begin = 0;
    for (let i = 0; i < count; ++i) {
      this.pair[i] = from.varint();
      this.writable[i] = from.varint();
      this.slot[i] = from.varint();
      this.grant[i] = from.varint();
      this.frame[i] = from.varint();
      this.table[i] = from.varint();
      this.begin[i] = begin += from.varint();
      this.end[i] = begin + from.varint();
    }
    this.byFrame = Uint32Array.from(this.frame.keys()).sort((a, b) => this.frame[a] - this.frame[b] || a - b);
  }
  get count() { return this.frame.length; }
  ofFrame(frame) {
    const all = [];
    let i = Links.firstAt(this.count, (k) => this.frame[this.byFrame[k]], frame);
    for (; i < this.count && this.frame[this.byFrame[i]] === frame; ++i) all.push(this.byFrame[i]);
    return all;
  }
  isAt(loan, event) { return this.begin[loan] <= event && event < this.end[loan]; }
  mapper(loan) { return facts.pairs[this.pair[loan]].mapper; }
  lender(loan) { return facts.pairs[this.pair[loan]].lender; }
  access(loan) { return this.writable[loan] ? 'writable' : 'read-only'; }
  // The first mapping made after the event, or the last one before it.
  next(event) {
    const i = Links.firstAt(this.count, (k) => this.begin[k], event + 1);
    return i < this.count ? i : -1;
  }
  previous(event) { return Links.firstAt(this.count, (k) => this.begin[k], event) - 1; }
}
const loans = domains ? new Loans() : null;
const pairName = (pair) => `${domainName(pair.mapper)} of ${pair.lender === pair.mapper ? 'its own' : domainName(pair.lender)}`;
