// A panel that asks for its state and also changes it: what a poll brings must not replace what a change brought.

/** The changes of a panel: those on their way, and those that have ended. */
export function changes() {
  let waiting = 0;
  let ended = 0;
  return {
    begin() { waiting += 1; },
    end() { waiting -= 1; ended += 1; },
    isWaiting: () => waiting > 0,
    /** To be called before a poll; what it returns says whether the poll's response is still news. */
    poll() {
      const before = ended;
      return () => waiting === 0 && before === ended;
    },
  };
}
