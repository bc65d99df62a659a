/**
 * JSON that this gateway wrote itself: into an object's storage, or for another part of itself. Its type is not
 * checked, so never use this for data from outside. A value written by an older release lacks the fields added since:
 * make them optional in `T`.
 */
export const storedJson = <T>(text: string): T => JSON.parse(text) as T;
