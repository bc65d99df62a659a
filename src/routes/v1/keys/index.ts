import type { V1App } from '../v1-app.ts';
import { registerChangeKey } from './change.ts';
import { registerCreateKey } from './create.ts';
import { registerReadKeys } from './read.ts';
import { registerRevokeKey } from './revoke.ts';

/** All routes about keys (docs/guides/keys.md). */
export function registerKeys(app: V1App): void {
  registerCreateKey(app);
  registerRevokeKey(app);
  registerReadKeys(app);
  registerChangeKey(app);
}
