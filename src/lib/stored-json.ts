/**
 * JSON that this gateway wrote itself: into an object's storage, or for another part of itself. Its type is promised by
 * whoever wrote it and is not checked, so nothing that comes from outside is read with this. A value that an older release
 * wrote lacks what was added since: say so in `T`.
 */
export const storedJson = <T>(text: string): T => JSON.parse(text) as T;
