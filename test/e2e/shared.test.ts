import { afterAll, afterEach, beforeAll } from 'vitest';
import { cancelUnfinishedJobs, platform, startSharedPlatform } from './shared/stack.ts';

/**
 * Tests against one platform with the default settings: starting it takes longer than most of them. Each leaves it as it
 * found it: no faults at RunPod, one idle worker, the gateway up. Tests that need other settings have a file of their own.
 */

beforeAll(startSharedPlatform);
afterEach(cancelUnfinishedJobs);
afterAll(() => platform.stop());

await import('./shared/whole-path.ts');
await import('./shared/tutorial.ts');
await import('./shared/waiting.ts');
await import('./shared/cancel.ts');
await import('./shared/fair-share.ts');
await import('./shared/runpod-faults.ts');
await import('./shared/worker-killed.ts');
await import('./shared/gateway-killed.ts');
