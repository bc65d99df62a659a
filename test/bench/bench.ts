/** What a suite is given. */
export type Bench = {
  /** The project's folder. */
  root: string;
  /** Its Python. */
  python: string;
  /** Ends the suite. */
  signal: AbortSignal;
  /** One small round, in seconds: it shows that the suite works. Its figures say nothing. */
  short: boolean;
  /** Takes what the suite prints. */
  report: (text: string) => void;
};
