// What a dot means: colour and shape together, so that neither alone has to be seen. The colours are those of Okabe
// and Ito, which people with any kind of colour vision can tell apart.

/** Paths in a square from -1 to 1. */
export const VERDICTS = {
  home: { label: 'home', title: 'the home of its key served it', colour: '#009e73', path: 'M1 0A1 1 0 1 1-1 0A1 1 0 1 1 1 0Z' },
  new: { label: 'new', title: 'a new client: the gateway minted its key', colour: '#56b4e9', path: 'M0-1.1L1.1.9H-1.1Z' },
  failover: {
    label: 'failover', title: 'the home was away: the next in rank served it', colour: '#d55e00',
    path: 'M0-1.25L1.25 0L0 1.25L-1.25 0Z',
  },
  spilled: {
    label: 'spilled', title: 'the home was over its load bound: the next in rank served it', colour: '#f0e442',
    path: 'M-.95-.95H.95V.95H-.95Z',
  },
  invalid: {
    label: 'invalid', title: 'the client sent a malformed key and got a new one', colour: '#cc79a7',
    path: 'M-.4-1.1H.4V-.4H1.1V.4H.4V1.1H-.4V.4H-1.1V-.4H-.4Z',
  },
  off: {
    label: 'round robin', title: 'the pool uses round robin: any instance', colour: '#0072b2',
    path: 'M-1.2-.55H1.2V.55H-1.2Z',
  },
  failed: {
    label: 'failed', title: 'no instance served it, or the response was a 5xx', colour: '#000000',
    path: 'M-1.1-.7L-.7-1.1L0-.4L.7-1.1L1.1-.7L.4 0L1.1 .7L.7 1.1L0 .4L-.7 1.1L-1.1 .7L-.4 0Z',
  },
};

/** The kind of a routed request. */
export function kindOf({ verdict, status, instance }) {
  if (status >= 500 || !instance) return 'failed';
  return verdict in VERDICTS ? verdict : 'off';
}
