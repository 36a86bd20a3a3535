// The photos on their way to the station. One that gets no answer stays in memory and is sent again until it has one.
// Keeps their order, and never sends two at once.

/** `send(job)` gives the station's answer; `persist` tries again while none comes (see `Station`). */
export class Sending {
  constructor(send, persist) {
    this.send = send;
    this.persist = persist;
    this.jobs = [];
    this.running = false;
  }

  /** How many photos wait here for an answer that did not come. */
  get unsent() {
    return this.jobs.filter((job) => job.waiting && !job.replaced).length;
  }

  /** Send a job {id, view, blob, keep}; a newer photo of the same view takes the place of one that still waits.
   * `told(answer)`, `failed(error)` and `waits(error)` say what became of it. */
  add(job) {
    this.jobs = this.jobs.filter((one) => one === this.jobs[0] || one.id !== job.id || one.view !== job.view);
    if (this.running && this.jobs[0]?.id === job.id && this.jobs[0].view === job.view) this.jobs[0].replaced = true;
    this.jobs.push(job);
    if (!this.running) this.run();
    else if (this.jobs[0].waiting) this.wait();
  }

  /** Forget what belongs to an item that the operator has thrown away. */
  drop(id) {
    this.jobs.filter((job) => job.id === id).forEach((job) => (job.replaced = true));
    this.jobs = this.jobs.filter((job, index) => index === 0 || job.id !== id);
  }

  /** What stands behind a photo without an answer waits as well. */
  wait(error = null) {
    for (const job of this.jobs.filter((one) => !one.replaced)) {
      job.waiting = true;
      job.waits(error);
    }
  }

  async run() {
    this.running = true;
    while (this.jobs.length > 0) {
      const job = this.jobs[0];
      const say = await this.outcome(job);
      this.jobs.shift();
      if (!job.replaced) say();
    }
    this.running = false;
  }

  async outcome(job) {
    try {
      const answer = await this.persist(
        () => (job.replaced ? null : this.send(job)),
        (error) => this.wait(error),
      );
      return () => job.told(answer);
    } catch (error) {
      return () => job.failed(error);
    }
  }
}
