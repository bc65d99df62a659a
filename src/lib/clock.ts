/** The current time in ms since the epoch. It is a parameter everywhere, so that tests control it. */
export type Clock = () => number;

export const systemClock: Clock = () => Date.now();
