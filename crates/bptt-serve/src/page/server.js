// Requests to the server.

/** The statuses of answers of a server that has too much to do. */
export const BUSY = [408, 503];

/** The answer of the server as JSON; a refusal is an error with its message and status. */
async function answer(response) {
  const data = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(new Error(data.error ?? `the server answered ${response.status}`), { status: response.status });
  return data;
}

/** A GET request. */
export async function read(path, query = {}) {
  const search = new URLSearchParams(query);
  return answer(await fetch(search.size > 0 ? `${path}?${search}` : path));
}

/** A POST request. */
export async function ask(path, body, signal) {
  const headers = { "content-type": "application/json" };
  return answer(await fetch(path, { method: "POST", headers, body: JSON.stringify(body), signal }));
}

/** Sends one request at a time: a newer request replaces a waiting one, and the answer to an older one is dropped. `use` gets
 * the answers, `fail` the errors. */
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
