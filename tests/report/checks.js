// Runs in the page, behind its own script: does what a person would, and writes what it saw.
'use strict';
(() => {
  const map = document.getElementById('map');
  const lines = [];
  const check = (what, ok, seen) => lines.push(ok ? `ok ${what}` : `FAILED ${what}: ${seen}`);
  const text = (id) => document.getElementById(id).textContent;
  const has = (what, id, wanted) => check(what, text(id).includes(wanted), `"${wanted}" is not in "${text(id).slice(0, 300)}"`);
  const click = (at) => {
    for (const type of ['pointerdown', 'pointerup'])
      map.dispatchEvent(new PointerEvent(type, {clientX: at.x, clientY: at.y, bubbles: true}));
  };
  const press = (key, shiftKey = false) => map.dispatchEvent(new KeyboardEvent('keydown', {key, shiftKey, bubbles: true}));
  const facts = JSON.parse(text('facts'));
  const refusals = JSON.parse(text('refusals-data'));
  const middle = Math.floor(facts.events / 2);

  // The colour of a dot, as a class's colour or the same shaded.
  const colour = (name) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim().slice(1);
    return [0, 2, 4].map((i) => parseInt(hex.length === 3 ? hex[i / 2] + hex[i / 2] : hex.slice(i, i + 2), 16));
  };
  let pixels = null;
  const isColour = (what, frame, event, name) => {
    const box = map.getBoundingClientRect(), at = map.pixelOf(frame, event), scale = map.width / map.clientWidth;
    if (pixels === null) {
      // A copy is read, since reading changes how the browser keeps what is read.
      const copy = Object.assign(document.createElement('canvas'), {width: map.width, height: map.height});
      const context = copy.getContext('2d', {willReadFrequently: true});
      context.drawImage(map, 0, 0);
      pixels = context.getImageData(0, 0, map.width, map.height);
    }
    const x = Math.round((at.x - box.left - 1) * scale), y = Math.round((at.y - box.top - 1) * scale);
    const found = pixels.data.slice((y * pixels.width + x) * 4, (y * pixels.width + x) * 4 + 3);
    const plain = colour(name), shaded = plain.map((v) => Math.round(v * 0.7));
    const near = (to) => to.every((v, i) => Math.abs(v - found[i]) <= 1);
    check(what, near(plain) || near(shaded), `${[...found]} at frame ${frame}`);
  };

  const cases = {
    life() {
      has('it opens at a moment with page tables', 'tree', 'Roots (L4 tables): 1.');
      has('the summary counts the events', 'summary', facts.events.toLocaleString('en'));
      check('nothing is said of other domains', ['owners', 'grants', 'grants-picture', 'colour-choice', 'grant-keys'].every((id) => document.getElementById(id).hidden), 'it is shown');
      check('the legend names each class', document.querySelectorAll('#legend li').length === 11, text('legend'));
      has('all refusals are counted', 'refusal-counts', `${refusals.length.toLocaleString('en')} refused`);
      // The domain's frame 0 is machine frame 1: L4, L3, L2, L1 from there on.
      isColour('an L4 table has its colour', 1, 5 + middle, '--l4');
      isColour('an L1 table has its colour', 4, 5 + middle, '--l1');
      isColour('a writable frame has its colour', 12, middle, '--writable');
      isColour('a frame without type has its colour', 38, middle, '--none');

      click(map.pixelOf(4, middle));
      has('a click shows the frame', 'frame', 'Frame 0x4');
      has('its look at the moment', 'frame', 'L1 table.');
      has('who named it', 'frame', 'named by 0x3 slot 0');
      has('the tree above it', 'tree', 'Named by 0x3[0]');
      click(map.pixelOf(1, middle));
      has('a root’s tree has its tables', 'tree', '0x4 L1 table');
      has('and says which slot names them', 'tree', '[0] 0x3');

      const first = refusals[0];
      const mark = map.pixelOf(first.frame, first.event);
      click({x: mark.x, y: mark.y - 2});
      check('a click on a mark opens a refusal', !document.getElementById('refusal').hidden, 'it is hidden');
      has('with its rule', 'refusal', 'Refused: l1.writable-map-of-table');
      has('and what the guest is told', 'refusal', '-EBUSY');
      const other = refusals.findIndex((r) => r.rule !== first.rule);
      document.querySelectorAll('#refusal-list tbody button.link')[0].click();
      has('the list opens refusals', 'refusal', `event ${first.event.toLocaleString('en')}`);
      const rule = document.getElementById('rule');
      rule.value = String(refusals[other].rule);
      rule.dispatchEvent(new Event('change'));
      document.querySelector('#refusal-list tbody button.link').click();
      has('the list shows one rule', 'refusal', facts.rules[refusals[other].rule].name);

      map.focus();
      press('0');
      const before = text('status');
      press('ArrowRight');
      check('an arrow moves the mark', text('status') !== before, text('status'));
      const wide = map.pixelOf(1, middle + 1).x - map.pixelOf(1, middle).x;
      press('+');
      check('plus zooms in', map.pixelOf(1, middle + 1).x - map.pixelOf(1, middle).x > 1.9 * wide, `${wide} before`);
      press('n');
      has('N goes to a refusal', 'refusal', 'Refused');
      press('Enter');
      has('Enter shows the frame at the mark', 'frame', 'Frame 0x');
      document.getElementById('go-frame').value = '0x2';
      document.getElementById('go-event').value = String(middle);
      document.getElementById('controls').requestSubmit();
      has('a frame can be asked for', 'frame', 'Frame 0x2');
      document.getElementById('go-frame').value = 'nonsense';
      document.getElementById('controls').requestSubmit();
      has('nonsense is told so', 'status', 'A frame is a number');
    },
    dark() {
      check('the page is dark', getComputedStyle(document.body).backgroundColor === 'rgb(22, 24, 27)', getComputedStyle(document.body).backgroundColor);
      isColour('an L4 table has its dark colour', 1, 5 + middle, '--l4');
      isColour('a writable frame has its dark colour', 12, middle, '--writable');
      window.dispatchEvent(new Event('beforeprint'));
      pixels = null;
      check('on paper it is light', colour('--paper').join() === '255,255,255', colour('--paper'));
      isColour('and so is the picture', 12, middle, '--writable');
      window.dispatchEvent(new Event('afterprint'));
      check('then it is dark again', colour('--paper').join() === '22,24,27', colour('--paper'));
    },
    // tests/data/two-guests-that-grant.log.zst: domain 2 maps frames of domain 1, and is refused them otherwise.
    several() {
      const owners = () => [...document.querySelectorAll('#owners li')].map((li) => li.textContent);
      const set = (id, value) => {
        const choice = document.getElementById(id);
        choice.value = value;
        choice.dispatchEvent(new Event('change', {bubbles: true}));
        pixels = null;
      };
      has('the summary counts the domains', 'summary', '2 domains');
      check('the legend has both', owners().length === 3 && owners()[0].startsWith('d1  domain 1') && owners()[1].startsWith('d2  domain 2'), owners());
      has('it opens when both live', 'tree', 'domain 2’s, L4 table');
      const far = 0x3000;
      isColour('types are shown at first', far, 200, '--none');
      set('colours', 'owner');
      isColour('then a frame of domain 1 has its colour', 0x1800, 200, '--owner0');
      isColour('and one of domain 2 another', far, 200, '--owner1');
      isColour('that of a domain that is not there yet is nobody’s', far, 5, '--absent');
      set('colours', 'type');
      isColour('types come back', far, 200, '--none');

      const loan = facts.pairs[0];
      check('the pair is known', loan.mapper === 2 && loan.lender === 1 && loan.maps === 4 && loan.ended === 4 && loan.refused === 1, JSON.stringify(loan));
      has('all mappings are counted', 'grant-counts', '4 mappings; ended: 4; requests that were refused: 1');
      document.querySelectorAll('#grant-list tbody tr')[2].querySelector('button').click();
      has('the list opens a frame', 'frame', 'Frame 0x106');
      has('whose it is', 'frame', 'domain 1’s, writable.');
      has('who maps it, and how', 'frame', 'mapped by domain 2, writable, by grant 9 of domain 1: L1 0x216b slot 266, since event 194, until event 338.');
      has('its history says when that ended', 'frame', 'no more mapped by domain 2');
      has('and what was refused before', 'frame', 'refused: l1.foreign-frame');
      document.querySelectorAll('#grant-list tbody tr')[2].querySelectorAll('button')[1].click();
      check('after that nobody maps it', document.querySelector('#frame .loan') === null, text('frame').slice(0, 200));
      document.querySelector('#refusal-list tbody button.link').click();
      has('a refusal names the domain that asked', 'refusal', 'domain 2, vCPU 0');

      map.focus();
      document.getElementById('go-event').value = '160';
      document.getElementById('controls').requestSubmit();
      press('g');
      has('G goes to the next mapping', 'status', 'Event 194');
      press('G', true);
      has('Shift and G to the one before', 'status', 'Event 151');
      const strip = document.getElementById('grant-strip'), box = strip.getBoundingClientRect();
      strip.dispatchEvent(new MouseEvent('click', {clientX: map.pixelOf(0x106, 76).x, clientY: box.top + 5, bubbles: true}));
      has('a click on the row of a pair goes to a mapping', 'status', 'Event 75');
      has('another frame, too', 'frame', 'Frame 0x10b');
    },
    empty() {
      has('the page says that the log is empty', 'notes', 'The log holds no events.');
      has('nothing was refused', 'refusal-counts', 'Nothing was refused.');
      click(map.pixelOf(3, 0));
      has('a click finds nothing', 'frame', 'Nothing in the log is about it.');
    },
    cut() {
      has('the page says where the log ends', 'notes', 'at byte 70000');
      click(map.pixelOf(4, Math.floor(facts.events / 2)));
      has('what precedes is there', 'frame', 'L1 table');
    },
  };
  try {
    cases[document.currentScript.dataset.case]();
  } catch (error) {
    lines.push(`FAILED: ${error.stack}`);
  }
  const out = document.createElement('pre');
  out.id = 'checks';
  out.textContent = lines.join('\n') + '\n';
  document.body.append(out);
})();
