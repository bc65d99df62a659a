/**
 * The escapes of one letter in a JSON text, by that letter: what each stands for (RFC 8259, section 7). `\u` is not
 * among them.
 */
export const JSON_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);
