// What is said in words: a frame's history, a table's tree, a refusal.

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith('on')) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value);
  }
  made.append(...children.filter((c) => c !== null && c !== undefined));
  return made;
}
const link = (text, action) => element('button', {type: 'button', class: 'link number', onclick: action}, text);
const frameLink = (frame) => link(hex(frame), () => select(frame, selected.event));
const eventLink = (event) => link(grouped(event), () => select(selected.frame, event));
const when = (event) => duration(times.nsOf(event));

function replace(id, ...children) {
  const section = document.getElementById(id);
  section.replaceChildren(...children.filter((c) => c));
  return section;
}

function tableOf(heads, rows, most) {
  const body = element('tbody');
  const fill = (count) => {
    for (const row of rows.slice(body.children.length, count))
      body.append(element('tr', {}, ...row.map((cell) => element('td', {}, cell))));
  };
  fill(most);
  const all = element('table', {}, element('thead', {}, element('tr', {}, ...heads.map((h) => element('th', {scope: 'col'}, h)))), body);
  if (rows.length <= most) return all;
  const more = element('button', {type: 'button', class: 'more'}, `Show ${grouped(rows.length - most)} more`);
  more.addEventListener('click', () => {
    fill(rows.length);
    more.remove();
  });
  return element('div', {}, all, more);
}

function showFrame(frame, event) {
  const run = runs.of(frame);
  const heading = element('h2', {}, `Frame ${hex(frame)}`);
  const now = nameOfFrame(runs.lookAt(run, event), runs.ownerAt(run, event));
  const rows = [];
  if (run >= 0) {
    for (let i = runs.begin[run]; i < runs.begin[run + 1]; ++i)
      rows.push([runs.event[i], nameOfFrame(runs.look[i], runs.owner[i])]);
  }
  for (const r of refusals) if (r.frame === frame || r.table === frame)
    rows.push([r.event, link(`refused: ${facts.rules[r.rule].name}`, () => showRefusal(r))]);
  for (const i of links().ofChild(frame)) {
    rows.push([links().begin[i], document.createTextNode('')], [links().end[i], document.createTextNode('')]);
    rows.at(-2)[1] = element('span', {}, 'named by ', frameLink(links().parent[i]), ` slot ${links().slot[i]}`);
    rows.at(-1)[1] = element('span', {}, 'no more named by ', frameLink(links().parent[i]), ` slot ${links().slot[i]}`);
  }
  if (loans) for (const i of loans.ofFrame(frame)) rows.push([loans.begin[i], loanBegins(i)], [loans.end[i], loanEnds(i)]);
  const shown = rows.filter((row) => row[0] < facts.shown).sort((a, b) => a[0] - b[0]);
  const neighbours = run >= 0 && runs.frames[run] > 1
    ? `Frames ${hex(runs.first[run])} to ${hex(runs.first[run] + runs.frames[run] - 1)} have this history.` : null;
  replace('frame', heading,
    element('p', {}, `At event ${grouped(event)} (${when(event)}): ${now}.`),
    ...loansNow(frame, event),
    neighbours && element('p', {class: 'help'}, neighbours),
    shown.length === 0 ? element('p', {}, 'Nothing in the log is about it.')
      : element('div', {class: 'scroll', tabindex: '0'}, tableOf(['event', 'time', 'from then on'],
        shown.map(([e, what]) => [eventLink(e), when(e), what]), 200)),
    element('p', {class: 'help'}, 'Each event: ', element('code', {}, `pinfold trace FILE --filter frame=${hex(frame)}`)));
}

const loanBegins = (i) => element('span', {}, `mapped by ${domainName(loans.mapper(i))}, ${loans.access(i)}, by grant ${loans.grant[i]} of ${domainName(loans.lender(i))}: L1 `,
  frameLink(loans.table[i]), ` slot ${loans.slot[i]}`);
const loanEnds = (i) => element('span', {}, `no more mapped by ${domainName(loans.mapper(i))}: L1 `, frameLink(loans.table[i]), ` slot ${loans.slot[i]}`);

// Who maps the frame at the event, by which grant, in sentences.
function loansNow(frame, event) {
  if (!loans) return [];
  const now = loans.ofFrame(frame).filter((i) => loans.isAt(i, event)), many = 10;
  const more = now.length - many;
  return [...now.slice(0, many).map((i) => element('p', {class: 'loan'}, loanBegins(i), ', since event ', eventLink(loans.begin[i]),
    ...(loans.end[i] < facts.shown ? [', until event ', eventLink(loans.end[i])] : [', to the end']), '.')),
  ...(more > 0 ? [element('p', {}, `And ${more} more mappings.`)] : [])];
}

function listLoans() {
  const section = document.getElementById('grants');
  if (!loans) return;
  section.hidden = document.getElementById('grants-picture').hidden = false;
  const sum = (name) => facts.pairs.reduce((all, pair) => all + pair[name], 0);
  const maps = sum('maps');
  document.getElementById('grant-counts').textContent = maps + sum('refused') === 0 ? 'No domain mapped anything by a grant.'
    : `${grouped(maps)} ${maps === 1 ? 'mapping' : 'mappings'}; ended: ${grouped(sum('ended'))}; requests that were refused: ${grouped(sum('refused'))}`
      + (loans.count < maps ? `; ${grouped(loans.count)} are listed, the first ones of each pair.` : '.');
  const choice = document.getElementById('pair');
  choice.replaceChildren(element('option', {value: ''}, 'all'),
    ...facts.pairs.map((pair, i) => element('option', {value: i}, `${pairName(pair)} (${grouped(pair.maps)})`)));
  document.getElementById('pair-choice').hidden = facts.pairs.length < 2;
  const list = () => {
    const wanted = [...loans.frame.keys()].filter((i) => choice.value === '' || loans.pair[i] === Number(choice.value));
    replace('grant-list', wanted.length === 0 ? null : tableOf(['event', 'until', 'mapped by', 'of', 'grant', 'frame', 'access'], wanted.map((i) => [
      link(grouped(loans.begin[i]), () => select(loans.frame[i], loans.begin[i])),
      loans.end[i] < facts.shown ? link(grouped(loans.end[i]), () => select(loans.frame[i], loans.end[i])) : 'the end',
      domainName(loans.mapper(i)), domainName(loans.lender(i)), String(loans.grant[i]), frameLink(loans.frame[i]), loans.access(i)]), 50));
  };
  choice.addEventListener('change', list);
  list();
}

// A table with what its entries name, in a tree that opens on demand.
function treeOf(frame, event, label, depth) {
  const children = links().ofParent(frame).filter((i) => links().isAt(i, event));
  const look = runs.lookAt(runs.of(frame), event);
  const what = depth < 2 ? nameOfFrame(look, runs.ownerAt(runs.of(frame), event)) : nameOfLook(look);
  const line = element('span', {}, label, frameLink(frame), ` ${what}`,
    children.length ? `, names ${children.length} ${children.length === 1 ? 'table' : 'tables'}` : '');
  if (children.length === 0 || depth > 4) return element('li', {}, line);
  const list = element('ul', {});
  const fill = () => {
    if (list.children.length) return;
    for (const i of children) list.append(treeOf(links().child[i], event, `[${links().slot[i]}] `, depth + 1));
  };
  const box = element('details', {ontoggle: fill}, element('summary', {}, line), list);
  if (depth === 0 || children.length <= 4 && depth < 3) {
    fill();
    box.open = true;
  }
  return element('li', {}, box);
}

// The roots that there are at the event; all, or as many as anybody reads.
function rootsAt(event, most) {
  const roots = [];
  for (let run = 0; run < runs.count && roots.length < most; ++run) {
    if ((runs.lookAt(run, event) & TYPE) !== 4) continue;
    for (let i = 0; i < runs.frames[run] && roots.length < most; ++i) roots.push(runs.first[run] + i);
  }
  return roots;
}

function showTree(frame, event) {
  const table = frame !== null && isTable(classOfLook[runs.lookAt(runs.of(frame), event)]);
  const heading = element('h2', {}, table ? `Table ${hex(frame)} at event ${grouped(event)}` : `Tables at event ${grouped(event)}`);
  const parts = [heading];
  if (table) {
    const above = links().ofChild(frame).filter((i) => links().isAt(i, event));
    const many = 20;
    if (above.length)
      parts.push(element('p', {}, 'Named by ', ...above.slice(0, many).flatMap((i, k) => [k ? ', ' : '', frameLink(links().parent[i]), `[${links().slot[i]}]`]),
        above.length > many ? ` and ${above.length - many} more entries.` : '.'));
    else parts.push(element('p', {}, 'No table’s entry names it.'));
    parts.push(element('div', {class: 'scroll'}, element('ul', {}, treeOf(frame, event, '', 0))));
  } else {
    const many = 64, roots = rootsAt(event, many + 1);
    const list = element('ul', {}, ...roots.slice(0, many).map((root) => treeOf(root, event, '', 1)));
    parts.push(element('p', {}, roots.length === 0 ? 'There are no roots (L4 tables).' : `Roots (L4 tables): ${roots.length > many ? `the first ${many}` : roots.length}.`));
    parts.push(element('div', {class: 'scroll'}, list));
  }
  replace('tree', ...parts);
}

function showRefusal(r) {
  const rule = facts.rules[r.rule];
  const entry = (text) => element('code', {}, text);
  const rows = [
    ['The rule', rule.text[0].toUpperCase() + rule.text.slice(1) + '.'],
    rule.why && ['Why there is such a rule', rule.why],
    rule.instead && ['What the guest would have to do', rule.instead],
    ['The guest is told', rule.error],
    ['What was asked for', element('span', {}, r.op, r.table === null ? null : element('span', {}, ': table ', frameLink(r.table), ` (${r.level ? 'L' + r.level : 'no table'}), slot ${r.slot}, from `, entry(r.old), ' to ', entry(r.now)))],
    r.frame !== null && ['The frame in the way', element('span', {}, frameLink(r.frame), r.state ? `: ${r.state}` : '')],
    ['Who asked', element('span', {}, ...(domains ? [`domain ${r.domain}, `] : []), ...(r.vcpu === null ? ['the domain’s builder'] : [`vCPU ${r.vcpu}, ${r.cause}, at `, entry(r.ip)]))],
    ['When', element('span', {}, 'event ', eventLink(r.event), `, ${duration(r.ns)} after the begin`)],
  ].filter(Boolean);
  const section = replace('refusal', element('h2', {}, `Refused: ${rule.name}`),
    element('dl', {}, ...rows.flatMap(([term, text]) => [element('dt', {}, term), element('dd', {}, text)])));
  section.hidden = false;
  shownRefusal = refusals.indexOf(r);
  mark(frameOf(r) ?? selected.frame, r.event);
}

function listRefusals() {
  const total = facts.rules.reduce((sum, rule) => sum + rule.count, 0);
  document.getElementById('refusal-counts').textContent = total === 0 ? 'Nothing was refused.'
    : `${grouped(total)} refused` + (refusals.length < total ? `; of each rule the first ${grouped(facts.of_a_rule)} are listed.` : '.');
  const choice = document.getElementById('rule');
  choice.replaceChildren(element('option', {value: ''}, 'all'),
    ...facts.rules.map((rule, i) => rule.count ? element('option', {value: i}, `${rule.name} (${grouped(rule.count)})`) : null).filter(Boolean));
  document.getElementById('rule-choice').hidden = total === 0;
  const list = () => {
    const wanted = choice.value === '' ? refusals : refusals.filter((r) => r.rule === Number(choice.value));
    replace('refusal-list', wanted.length === 0 ? null : tableOf(['event', 'time', ...(domains ? ['domain'] : []), 'rule', 'asked for', 'frame'], wanted.map((r) => [
      link(grouped(r.event), () => showRefusal(r)), duration(r.ns), ...(domains ? [String(r.domain)] : []), facts.rules[r.rule].name,
      r.table === null ? r.op : `${r.op}, L${r.level} ${hex(r.table)} slot ${r.slot}`, r.frame === null ? '' : frameLink(r.frame)]), 50));
  };
  choice.addEventListener('change', list);
  list();
}
