/** Pages of `docs/` as text, for tests that hold code and page together. */
declare module '*.md?raw' {
  const text: string;
  // oxlint-disable-next-line import/no-default-export -- the bundler's form
  export default text;
}

/** Bodies of tests that are not JSON. */
declare module '*.txt?raw' {
  const text: string;
  // oxlint-disable-next-line import/no-default-export -- the bundler's form
  export default text;
}
