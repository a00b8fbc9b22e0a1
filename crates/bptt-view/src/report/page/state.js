// The choice, which is kept in the address so that it can be shared.

/** A choice with listeners, `change(now, before)`. `possible` maps any choice to one that can be shown. */
export class State {
  constructor(initial, possible) {
    this.possible = possible;
    this.listeners = [];
    this.now = possible({ ...initial, ...fromAddress(initial) });
    addEventListener("hashchange", () => this.set(fromAddress(this.now)));
  }

  /** Changes a part of it. */
  set(change) {
    const before = this.now;
    const now = this.possible({ ...before, ...change });
    if (Object.keys(now).every((key) => now[key] === before[key])) return;
    this.now = now;
    history.replaceState(null, "", `#${new URLSearchParams(now)}`);
    for (const listener of this.listeners) listener(now, before);
  }

  /** Calls `listener` at every change. */
  listen(listener) {
    this.listeners.push(listener);
  }
}

/** The values in the address for the keys of `like`, with numbers as numbers. */
function fromAddress(like) {
  const found = {};
  const given = new URLSearchParams(location.hash.slice(1));
  for (const [key, value] of Object.entries(like)) {
    if (!given.has(key)) continue;
    const text = given.get(key);
    if (typeof value !== "number") found[key] = text;
    else if (/^\d+(\.\d+)?$/u.test(text)) found[key] = Number(text);
  }
  return found;
}
