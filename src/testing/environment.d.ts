import type { D1Migration } from 'cloudflare:test';
import type { Env as GatewayEnv } from '../env.ts';
import type * as gateway from '../index.ts';

/** What tests inside workerd find in `cloudflare:workers`: the gateway's own environment and entry, and the migrations. */
declare global {
  namespace Cloudflare {
    interface Env extends GatewayEnv {
      TEST_MIGRATIONS: D1Migration[];
    }
    interface GlobalProps {
      mainModule: typeof gateway;
    }
  }
}
