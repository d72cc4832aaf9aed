// The page of the explorer. It shows what the server says, and decides nothing.
'use strict';

const byId = (id) => document.getElementById(id);

/** Signs and words for the verdicts. A property that cannot fail has no tick. */
const VERDICTS = {
    violated: ['❌', 'violated'],
    unreached: ['❌', 'never reached'],
    open: ['⏳', 'not all states checked'],
    reached: ['✅', 'reached'],
    holds: ['✅', 'holds'],
    unneeded: ['–', 'not reached, nor must it be'],
    vacuous: ['–', 'cannot fail in this scenario'],
};
/** A liveness property does not hold in states, but from them. */
const LIVENESS = { holds: 'holds from every state', violated: 'violated from a state' };

/** How often the search is asked how far it is, in milliseconds. */
const POLL = 500;

/** The farthest path that was opened, as indices and sentences. The one that is shown begins it. */
let farthest = { indices: [], steps: [] };
let shown = { indices: [], view: null };

function element(name, words, className) {
    let it = document.createElement(name);
    it.textContent = words ?? '';
    it.className = className ?? '';
    return it;
}

function link(words, indices) {
    let it = element('a', words);
    it.href = '#/steps/' + indices.join('/');
    return it;
}

function item(...children) {
    let it = element('li');
    it.append(...children);
    return it;
}

function notice(words) {
    byId('notice').textContent = words;
    byId('notice').hidden = !words;
}

/** Shows the state that the address names. */
async function showState() {
    let hash = location.hash || '#/steps/0';
    let path = hash.startsWith('#/steps/') ? hash.slice('#/steps/'.length).split('?')[0] : null;
    let response = path === null ? null : await fetch('states/' + path).catch(() => null);
    if (hash != (location.hash || '#/steps/0')) {
        return; // Another state was asked for meanwhile.
    }
    if (path !== null && response === null) {
        notice('The explorer does not answer: it has ended. Start it again, and reload this page.');
        return;
    }
    if (path === null || !response.ok) {
        let why = path === null ? 'an address is #/steps/ and numbers' : await response.json();
        notice(`This link leads nowhere: ${why}. It may be of other bounds or of another version.`);
        for (let id of ['path', 'actions', 'picture', 'state', 'violated']) {
            byId(id).replaceChildren();
        }
        byId('path').append(item(link('back to the first state', [0])));
        return;
    }
    notice('');
    let view = await response.json();
    let indices = path.split('/');
    let isOnPath = indices.every((index, place) => index == farthest.indices[place]);
    if (!isOnPath) {
        farthest = { indices, steps: view.steps };
    }
    shown = { indices, view };

    let ends = ['the first state', ...farthest.steps].map((sentence, place) => {
        let it = item(link(sentence, farthest.indices.slice(0, place + 1)));
        it.className = place + 1 == indices.length ? 'selected' : '';
        return it;
    });
    byId('path').replaceChildren(...ends);
    byId('path').querySelector('.selected').scrollIntoView({ block: 'nearest' });
    byId('actions').replaceChildren(
        ...view.actions.map(([index, sentence]) => item(link(sentence, [...indices, index]))));
    if (view.actions.length == 0) {
        byId('actions').append(item('nothing'));
    }
    byId('violated').textContent = view.violated.map((name) => `❌ violated here: ${name}`).join('; ');
    byId('violated').hidden = view.violated.length == 0;
    byId('picture').innerHTML = view.picture ?? '';
    byId('picture').scrollTop = byId('picture').scrollHeight;
    showText();
}

function showText() {
    byId('state').textContent = byId('all').checked ? shown.view?.details : shown.view?.text;
}

/** Shows the search and the properties. */
function showStatus(status) {
    document.title = `${status.scenario} – Synod explorer`;
    byId('home').textContent = status.scenario;
    byId('shows').textContent = status.shows;
    byId('search').hidden = status.phase != 'idle';
    byId('progress').textContent = progress(status);
    byId('properties').replaceChildren(...status.properties.map(shownProperty));
    // Also at the top: the list of all properties is below a path that may be long.
    let wrong = status.properties.filter(({ verdict }) => ['violated', 'unreached'].includes(verdict));
    byId('wrong').replaceChildren(...wrong.map(shownProperty));
}

function shownProperty(property) {
    let [sign, plain] = VERDICTS[property.verdict];
    let words = property.kind == 'liveness' ? LIVENESS[property.verdict] ?? plain : plain;
    let name = property.path ? link(property.name, [property.path]) : property.name;
    let it = item(element('span', sign, 'sign'), `${words}: `, name, ` (${property.kind})`);
    it.className = property.verdict;
    return it;
}

function progress(status) {
    let states = status.unique_states.toLocaleString('en');
    let expected = status.expected_states;
    let of = expected > 0 ? ` of ${expected.toLocaleString('en')}` : '';
    let rate = `${status.states_per_second.toLocaleString('en')}/s`;
    switch (status.phase) {
        case 'idle':
            return 'Not begun: so far nothing is known of the properties.';
        case 'searching':
            return `${states}${of} states, ${rate}`;
        case 'shortening':
            return `${ended(status, states)} Looking for shorter paths.`;
        default:
            return ended(status, states);
    }
}

function ended(status, states) {
    if (status.stopped) {
        return `Incomplete: ended by ${status.stopped}, after ${states} states.`;
    }
    let differs = status.is_miscounted
        ? ` The table of scenarios has ${status.expected_states.toLocaleString('en')}.` : '';
    return `All ${states} states checked in ${status.seconds.toFixed(1)} s.${differs}`;
}

async function refreshStatus(method, path) {
    let status = await fetch(path, { method }).then((it) => it.json()).catch(() => null);
    if (status === null) {
        notice('The explorer does not answer: it has ended. Start it again, and reload this page.');
        return;
    }
    showStatus(status);
    if (status.phase == 'searching' || status.phase == 'shortening') {
        setTimeout(() => refreshStatus('GET', 'status'), POLL);
    }
}

/** Walks along the path, by so many steps. */
function walk(steps) {
    let length = shown.indices.length + steps;
    if (length >= 1 && length <= farthest.indices.length) {
        location.hash = '#/steps/' + farthest.indices.slice(0, length).join('/');
    }
}

byId('search').onclick = () => refreshStatus('POST', 'search');
byId('all').onchange = showText;
onhashchange = showState;
onkeydown = (event) => {
    let steps = { ArrowUp: -1, k: -1, ArrowDown: 1, j: 1 }[event.key];
    if (steps) {
        event.preventDefault();
        walk(steps);
    }
};
refreshStatus('GET', 'status');
showState();
