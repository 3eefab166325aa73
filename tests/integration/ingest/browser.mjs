// A browser as far as rapport.js needs one: enough of `window`, `document` and `navigator`, and requests that are real.
// argv: the address of ingest, a write key. Each scenario prints a line of JSON.
import vm from "node:vm";

const [, , address, key] = process.argv;
const source = await (await fetch(`${address}/rapport.js`)).text();

class Storage {
  entries = new Map();
  touched = 0;
  getItem(name) { this.touched += 1; return this.entries.get(name) ?? null; }
  setItem(name, value) { this.touched += 1; this.entries.set(name, value); }
  removeItem(name) { this.touched += 1; this.entries.delete(name); }
}

/** Opens a page; `requests` has what was posted, `idle` resolves when all that was posted is answered. */
function open({ url = "https://shop.example/", storage = new Storage(), data = {}, calls, answers = [] } = {}) {
  const listeners = {};
  const listen = (name, call) => (listeners[name] ??= []).push(call);
  const location = new URL(url);
  const timers = [];
  const requests = [];
  const beacons = [];
  const post = async (to, text) => {
    requests.push(JSON.parse(text));
    const refusal = answers.shift();
    if (refusal === "offline") throw new TypeError("offline");
    if (refusal) return new Response("{}", { status: refusal, headers: { "retry-after": "7" } });
    return await fetch(to, { method: "POST", body: text, headers: { "content-type": "text/plain" } });
  };
  const window = {
    location: { get href() { return location.href; }, get pathname() { return location.pathname; }, get search() { return location.search; } },
    history: { pushState(state, title, to) { location.href = new URL(to, location).href; } },
    crypto, localStorage: storage, rapport: calls, addEventListener: listen,
  };
  const document = {
    title: "Shop", referrer: "https://search.example/", visibilityState: "visible", addEventListener: listen,
    currentScript: { src: `${address}/rapport.js`, dataset: { key, ...data } },
  };
  const pending = [];
  const context = {
    window, document, console, URL, URLSearchParams, Blob, Response, Date, Intl, JSON,
    navigator: {
      language: "en-GB", userAgent: "test",
      sendBeacon(to, blob) { beacons.push(blob.size); pending.push(blob.text().then((text) => post(to, text))); return true; },
    },
    fetch(to, options) { const sent = post(to, options.body); pending.push(sent.catch(() => {})); return sent; },
    setTimeout(call, milliseconds) { timers.push({ call, milliseconds }); return timers.length; },
    clearTimeout(number) { if (timers[number - 1]) timers[number - 1].call = () => {}; },
  };
  vm.runInNewContext(source, context);
  return {
    rapport: window.rapport, window, document, storage, requests, beacons, timers,
    fire(name, event = {}) { for (const call of listeners[name] ?? []) call(event); },
    /** Lets all timers fire, without waiting for them, until nothing is left to do. */
    async settle() {
      for (let turn = 0; turn < 50; turn += 1) {
        await Promise.all(pending.splice(0));
        await new Promise((done) => setImmediate(done));
        const due = timers.filter((timer) => timer.call && !timer.done);
        if (!due.length && !pending.length) return;
        for (const timer of due) { timer.done = true; timer.call(); }
      }
    },
    events() { return requests.flatMap((request) => request.batch); },
  };
}

const say = (name, value) => console.log(JSON.stringify({ name, ...value }));

{ // nothing is stored or read without consent, and each page is a new visitor
  const storage = new Storage();
  const one = open({ storage, url: "https://shop.example/?utm_source=mail&utm_campaign=spring" });
  one.rapport.track("Product Viewed", { product_id: "1" });
  await one.settle();
  const other = open({ storage });
  await other.settle();
  say("without consent", { touched: storage.touched, events: one.events(), other: other.events() });
}
{ // with consent the visitor, the user and the session's campaign are remembered
  const storage = new Storage();
  const one = open({ storage, data: { consent: "granted" }, url: "https://shop.example/?utm_source=mail" });
  one.rapport.identify("ann", { email: "ann@example.com" });
  await one.settle();
  const other = open({ storage, calls: [["track", "Basket Opened"], ["consent", true]] });
  await other.settle();
  const stored = storage.entries.size;
  other.rapport.consent(false);
  say("with consent", { events: one.events(), other: other.events(), stored, left: storage.entries.size });
}
{ // a page that changes its address itself, and one that goes
  const page = open({});
  page.window.history.pushState({}, "", "/basket");
  await page.settle();
  for (let number = 0; number < 40; number += 1) page.rapport.track("Seen", { number, text: "x".repeat(3000) });
  page.document.visibilityState = "hidden";
  page.fire("visibilitychange");
  page.fire("pagehide");
  await page.settle();
  say("leaving", { events: page.events().map((event) => [event.type, event.properties.path ?? event.properties.number, event.context.page.referrer]), beacons: page.beacons });
}
{ // what was not taken is sent again, with the same ids
  const page = open({ answers: [503, "offline"] });
  await page.settle();
  const waits = page.timers.map((timer) => timer.milliseconds);
  say("again", { ids: page.events().map((event) => event.messageId), waits });
}
{ // another person at the same device is another visitor
  const page = open({});
  page.rapport.identify("ann");
  page.rapport.identify("bob");
  await page.settle();
  say("another person", { events: page.events().map((event) => [event.userId ?? null, event.anonymousId]) });
}
