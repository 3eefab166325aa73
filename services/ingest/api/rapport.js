/* Rapport in a browser: page views, sessions, campaigns, and what a page says by hand.
 *
 *   <script async src="https://events.example/rapport.js" data-key="rk_…"></script>
 *
 * data-consent="granted"  remember the visitor (localStorage); without it nothing is stored or read, and the visitor
 *                         is new on each page. rapport.consent(true) grants it later, rapport.consent(false) forgets.
 * data-pages="off"        no page views by itself.
 * data-host="…"           where to send, if not where this script comes from.
 */
(function (window, document, navigator) {
  "use strict";

  var script = document.currentScript;
  var options = (script && script.dataset) || {};
  if (!options.key) {
    console.warn("rapport.js: the script tag needs data-key, a write key (rk_…)");
    return;
  }
  var address = (options.host || new URL(script.src).origin).replace(/\/$/, "") + "/v1/batch";

  var NAME = "rapport"; // of the one entry in localStorage
  var IDLE = 30 * 60 * 1000; // milliseconds without an event, after which a session is over
  var PAUSE = 1000; // milliseconds for events to come together
  var BATCH = 50; // events in a request
  var BEACON = 60000; // bytes that browsers send after a page has gone; they take 64 KB
  var WAITING = 1000; // events; what comes while so many wait is dropped

  var granted = options.consent === "granted";
  var queue = [];
  var sending = false;
  var failures = 0;
  var timer = 0;
  var referrer = document.referrer;
  var shown = ""; // the address of the last page view
  var state = (granted && load()) || fresh();
  if (granted) save();

  // -- the visitor -------------------------------------------------------------------------------------------------

  function uuid() {
    if (window.crypto.randomUUID) return window.crypto.randomUUID(); // there in secure contexts only
    var bytes = window.crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = (bytes[6] & 15) | 64;
    bytes[8] = (bytes[8] & 63) | 128;
    var digits = Array.from(bytes, function (byte) {
      return (byte + 256).toString(16).slice(1);
    }).join("");
    return digits.replace(/(.{8})(.{4})(.{4})(.{4})(.{12})/, "$1-$2-$3-$4-$5");
  }

  function fresh() {
    return { anonymousId: uuid(), userId: null, session: null };
  }

  function load() {
    try {
      var found = JSON.parse(window.localStorage.getItem(NAME));
      return found && found.anonymousId ? found : null;
    } catch (error) {
      return null;
    }
  }

  function save() {
    if (!granted) return;
    try {
      window.localStorage.setItem(NAME, JSON.stringify(state));
    } catch (error) {
      // full or forbidden: the visitor is new on the next page
    }
  }

  /* The session that an event belongs to: a new one after half an hour of silence, or when another campaign leads here. */
  function session(now) {
    var campaign = utm();
    var over = !state.session || now - state.session.last > IDLE;
    if (over || (campaign && JSON.stringify(campaign) !== JSON.stringify(state.session.campaign))) {
      state.session = { id: uuid(), campaign: campaign, fresh: true };
    }
    state.session.last = now;
    return state.session;
  }

  function utm() {
    var asked = new URLSearchParams(window.location.search);
    var found = null;
    ["campaign", "source", "medium", "term", "content"].forEach(function (name) {
      var value = asked.get("utm_" + name);
      if (value) (found = found || {})[name === "campaign" ? "name" : name] = value.slice(0, 200);
    });
    return found;
  }

  // -- events ------------------------------------------------------------------------------------------------------

  function here() {
    var at = window.location;
    return { url: at.href, path: at.pathname, search: at.search, title: document.title, referrer: referrer };
  }

  function add(event) {
    var now = Date.now();
    var current = session(now);
    event.messageId = uuid();
    event.timestamp = new Date(now).toISOString();
    event.anonymousId = state.anonymousId;
    if (!event.userId && state.userId) event.userId = state.userId;
    event.context = {
      library: { name: "rapport.js", version: "1" },
      page: here(),
      locale: navigator.language,
      timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      userAgent: navigator.userAgent,
      sessionId: current.id,
    };
    if (current.fresh) event.context.sessionStart = true;
    if (current.campaign) event.context.campaign = current.campaign;
    delete current.fresh;
    save();
    if (queue.length >= WAITING) return;
    queue.push(event);
    if (queue.length >= BATCH) send();
    else later(PAUSE);
  }

  function track(event, properties) {
    add({ type: "track", event: event, properties: properties || {} });
  }

  function page(name, properties) {
    if (shown && shown !== window.location.href) referrer = shown;
    shown = window.location.href;
    add({ type: "page", name: name || document.title, properties: Object.assign(here(), properties) });
  }

  function identify(userId, traits) {
    if (userId && typeof userId === "object") {
      traits = userId;
      userId = null;
    }
    if (userId) {
      userId = String(userId);
      if (state.userId && state.userId !== userId) reset(); // another person at the same device
      state.userId = userId;
    }
    add({ type: "identify", traits: traits || {} });
  }

  function group(groupId, traits) {
    add({ type: "group", groupId: groupId, traits: traits || {} });
  }

  function alias(userId, previousId) {
    add({ type: "alias", userId: userId, previousId: previousId || state.anonymousId });
  }

  /* Somebody signed out: what follows is somebody else's. */
  function reset() {
    state = fresh();
    save();
  }

  function consent(given) {
    if (given && !granted) {
      granted = true;
      var known = load();
      if (known && !(state.userId && known.userId && state.userId !== known.userId)) {
        // what was not sent yet belongs to the visitor who is remembered
        var made = state.anonymousId;
        known.userId = state.userId || known.userId;
        known.session = state.session || known.session;
        state = known;
        queue.forEach(function (event) {
          if (event.anonymousId === made) event.anonymousId = known.anonymousId;
        });
      }
      save();
    } else if (!given) {
      granted = false;
      try {
        window.localStorage.removeItem(NAME);
      } catch (error) {
        // there is no storage, so nothing is stored
      }
      state = fresh();
    }
  }

  // -- sending -----------------------------------------------------------------------------------------------------

  function body(events) {
    return JSON.stringify({ writeKey: options.key, sentAt: new Date().toISOString(), batch: events });
  }

  function later(milliseconds) {
    if (!timer && !sending) timer = setTimeout(send, milliseconds);
  }

  /* Sends as text/plain, for which browsers need not ask first. What was not taken is sent again, with the same ids. */
  function send() {
    clearTimeout(timer);
    timer = 0;
    if (sending || !queue.length) return;
    var events = queue.splice(0, BATCH);
    var text = body(events);
    sending = true;
    fetch(address, { method: "POST", body: text, credentials: "omit", keepalive: text.length < BEACON / 2 }).then(
      function (answer) {
        if (answer.status === 408 || answer.status === 429 || answer.status >= 500) {
          again(events, Number(answer.headers.get("retry-after")));
          return;
        }
        failures = 0;
        sending = false;
        if (!answer.ok) {
          answer.text().then(function (said) {
            console.warn("rapport.js: events were refused", answer.status, said);
          });
        }
        if (queue.length) later(0);
      },
      function () {
        again(events, 0);
      }
    );
  }

  function again(events, seconds) {
    queue = events.concat(queue);
    sending = false;
    failures += 1;
    later(1000 * Math.max(seconds || 0, Math.min(60, Math.pow(2, failures))));
  }

  /* The page goes: what waits is given to the browser, in pieces that it takes. */
  function leave() {
    while (queue.length) {
      var count = queue.length;
      while (count > 1 && new Blob([body(queue.slice(0, count))]).size > BEACON) count = Math.ceil(count / 2);
      var blob = new Blob([body(queue.slice(0, count))], { type: "text/plain" });
      if (!navigator.sendBeacon || !navigator.sendBeacon(address, blob)) {
        send();
        return;
      }
      queue.splice(0, count);
    }
  }

  document.addEventListener("visibilitychange", function () {
    if (document.visibilityState === "hidden") leave();
  });
  window.addEventListener("pagehide", leave);

  // -- the page's own calls, also those made before this script was there ---------------------------------------------

  var calls = { track: track, page: page, identify: identify, group: group, alias: alias, reset: reset, consent: consent };
  var before = Array.isArray(window.rapport) ? window.rapport : [];
  window.rapport = Object.assign(
    {
      push: function (call) {
        if (calls[call[0]]) calls[call[0]].apply(null, [].slice.call(call, 1));
      },
      flush: send,
      anonymousId: function () {
        return state.anonymousId;
      },
    },
    calls
  );

  function watch() {
    var push = window.history.pushState;
    var look = function () {
      setTimeout(function () {
        if (shown.split("#")[0] !== window.location.href.split("#")[0]) page();
      }, 0); // frameworks set the title after they change the address
    };
    window.history.pushState = function () {
      push.apply(window.history, arguments);
      look();
    };
    window.addEventListener("popstate", look);
    window.addEventListener("pageshow", function (event) {
      if (event.persisted) page(); // back from the browser's own cache
    });
    if (document.prerendering) document.addEventListener("prerenderingchange", look, { once: true });
    else page();
  }

  function isConsent(call) {
    return call[0] === "consent";
  }

  // consent comes first: then the first page view is already the remembered visitor's
  before.filter(isConsent).forEach(window.rapport.push);
  if (options.pages !== "off") watch();
  before
    .filter(function (call) {
      return !isConsent(call);
    })
    .forEach(window.rapport.push);
})(window, document, navigator);
