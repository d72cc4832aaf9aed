// What the test asks of the explorer's page: where things are in it, and whether they can be read.
// A person decides by looking; this keeps it so. Complaints are sentences.

const look = {
    /** The smallest letters, in pixels as they are seen, and the faintest, by the measure of WCAG. */
    LETTERS_MIN: 10.9,
    CONTRAST_MIN: 4.5,
    /** The lightest and the darkest row of a picture. */
    PICTURE_GROUNDS: ['rgb(255, 255, 255)', 'rgb(255, 248, 197)'],

    list: () => document.querySelector('nav'),
    pictureBox: () => document.querySelector('#picture'),
    picture: () => look.pictureBox().querySelector('svg'),
    stateBox: () => document.querySelector('#state'),
    button: () => document.querySelector('#search'),
    title: () => document.querySelector('#home'),
    words: (id) => document.getElementById(id).innerText,
    notice: () => document.querySelector('#notice').hidden ? '' : look.words('notice'),

    isLoaded: () => look.words('home') != '' && look.words('progress') != '',
    isDone: () => /^All [0-9,]+ states checked in [0-9.]+ s\.$/.test(look.words('progress')),
    properties: () => [...document.querySelectorAll('#properties li')].map(it => ({
        text: it.innerText.trim().replace(/\s+/g, ' '),
        verdict: it.className,
        path: it.querySelector('a')?.hash.replace('#/steps/', ''),
    })),
    property: (text) => [...document.querySelectorAll('#properties li')]
        .find(it => it.innerText.includes(text)).querySelector('a'),
    path: () => [...document.querySelectorAll('#path li')],
    /** The first action. */
    choice: () => document.querySelector('#actions a'),

    /** Whether the page shows the state at the end of a path of so many indices. */
    isAt: (indices) => look.path()[indices - 1]?.className == 'selected',

    /** Where to click on an element, once it has been scrolled to. */
    at(element) {
        element.scrollIntoView({ block: 'center' });
        let { left, top, width, height } = element.getClientRects()[0];
        return { x: left + width / 2, y: top + height / 2 };
    },

    /** What is hard to read of the lists. */
    complaintsOfLists() {
        let texts = [...look.list().querySelectorAll('a, li, p, span, button, h2')];
        return [
            ...look.complaintsOfBox(look.list(), 'the lists'),
            ...texts.filter(it => it.getClientRects().length > 0).flatMap(it =>
                look.complaintsOfText(it, getComputedStyle(it).color, [look.ground(it)], 1)),
            ...[...'✅❌⏳'].filter(it => !look.hasGlyph(it, look.list()))
                .map(it => `no font has ${it}: install fonts-noto-color-emoji`),
        ];
    },

    /** What is hard to read of a state. */
    complaintsOfState() {
        let box = look.stateBox();
        return [
            ...look.complaintsOfBox(box, 'the state'),
            ...look.complaintsOfText(box, getComputedStyle(box).color, [look.ground(box)], 1),
            ...[...'✓»'].filter(it => !look.hasGlyph(it, box)).map(it => `no font has ${it}`),
            ...(box.clientHeight >= 250 ? [] : [`the state is only ${box.clientHeight}px high`]),
        ];
    },

    /** What is hard to read of a picture. */
    complaintsOfPicture() {
        let [box, picture] = [look.pictureBox(), look.picture()];
        if (!picture || !picture.checkVisibility()) {
            return ['there is no picture'];
        }
        let frame = picture.getBoundingClientRect();
        let window = box.getBoundingClientRect();
        let texts = [...picture.querySelectorAll('text')]
            .map(node => ({ node, words: node.textContent.trim(), frame: node.getBoundingClientRect() }));
        let scale = frame.width / picture.viewBox.baseVal.width;
        let overlap = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
            && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4;
        let isIn = (a, b) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
        return [
            ...look.complaintsOfBox(box, 'the picture'),
            ...texts.flatMap(it => look.complaintsOfText(
                it.node, getComputedStyle(it.node).fill, look.PICTURE_GROUNDS, scale)),
            ...texts.filter(it => !isIn(it.frame, frame)).map(it => `"${it.words}" is cut off`),
            ...texts.flatMap((a, index) => texts.slice(index + 1)
                .filter(b => overlap(a.frame, b.frame))
                .map(b => `"${a.words}" and "${b.words}" stand on each other`)),
            ...(texts.filter(it => isIn(it.frame, window)).length >= 10 ? []
                : ['hardly anything of the picture is in the window']),
        ];
    },

    /** The number of the last step that the picture has, if one sees it without scrolling. */
    lastStepSeen() {
        let window = look.pictureBox().getBoundingClientRect();
        let seen = [...look.picture().querySelectorAll('text')]
            .filter(it => it.getBoundingClientRect().bottom <= window.bottom)
            .map(it => it.textContent.trim()).filter(it => /^\d+$/.test(it));
        return Math.max(...seen.map(Number));
    },

    complaintsOfBox(box, name) {
        let { left, right, top, width, height } = box.getBoundingClientRect();
        let seen = width > 0 && height > 0 && left >= 0 && right <= innerWidth && top < innerHeight;
        return [
            ...(seen ? [] : [`${name}: not within the window`]),
            ...(box.scrollWidth <= box.clientWidth ? [] : [`${name}: broader than the room for it`]),
            ...(document.documentElement.scrollWidth <= innerWidth ? [] : ['the page is too broad']),
        ];
    },
    complaintsOfText(element, colour, grounds, scale) {
        let words = element.textContent.trim().slice(0, 40);
        let letters = parseFloat(getComputedStyle(element).fontSize) * scale;
        let contrast = Math.min(...grounds.map(it => look.contrast(colour, it)));
        return [
            ...(letters >= look.LETTERS_MIN ? [] : [`"${words}": letters of ${letters}px`]),
            ...(contrast >= look.CONTRAST_MIN ? [] : [`"${words}": a contrast of ${contrast}`]),
        ];
    },

    /** The colour behind an element. */
    ground(element) {
        let colour = getComputedStyle(element).backgroundColor;
        return colour != 'rgba(0, 0, 0, 0)' ? colour : look.ground(element.parentElement);
    },
    contrast(a, b) {
        let [light, dark] = [look.luminance(a), look.luminance(b)].sort((a, b) => b - a);
        return (light + 0.05) / (dark + 0.05);
    },
    luminance(colour) {
        let [red, green, blue] = colour.match(/[\d.]+/g).map(it => it / 255)
            .map(it => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    },

    /** Whether a letter has a shape of its own: different from that of a letter that nobody has. */
    hasGlyph(letter, element) {
        let drawn = (letter) => {
            let canvas = new OffscreenCanvas(40, 40).getContext('2d');
            canvas.font = `20px ${getComputedStyle(element).fontFamily}`;
            canvas.fillText(letter, 5, 30);
            return canvas.getImageData(0, 0, 40, 40).data.join();
        };
        return drawn(letter) != drawn('\u{10FFFD}');
    },
};
globalThis.look = look;
