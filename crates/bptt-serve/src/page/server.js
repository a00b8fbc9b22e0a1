// Asking the server.

/** An answer of the server as JSON; what it refuses is an error with its words. */
async function answer(response) {
  const data = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(data.error ?? `the server answered ${response.status}`);
  return data;
}

/** Reads something. */
export async function read(path, query = {}) {
  const search = new URLSearchParams(query);
  return answer(await fetch(search.size > 0 ? `${path}?${search}` : path));
}

/** Asks for something to be done or computed. */
export async function ask(path, body, signal) {
  const headers = { "content-type": "application/json" };
  return answer(await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal }));
}

/** Asks one thing at a time: a newer question takes the place of one that waits, and of the answer to an older one. `use`
 * gets the answers, `fail` what went wrong. */
export class Newest {
  constructor(path, use, fail) {
    Object.assign(this, { path, use, fail, asking: false, waiting: null });
  }

  async ask(body) {
    this.waiting = body;
    if (this.asking) return;
    this.asking = true;
    while (this.waiting) {
      const now = this.waiting;
      this.waiting = null;
      try {
        const found = await ask(this.path, now);
        if (!this.waiting) await this.use(found, now);
      } catch (error) {
        if (!this.waiting) this.fail(error);
      }
    }
    this.asking = false;
  }
}
