/** What tests inside workerd find in `cloudflare:workers`: the gateway's own environment and entry, and the migrations. */
declare namespace Cloudflare {
  interface Env extends GatewayEnv {
    TEST_MIGRATIONS: import('cloudflare:test').D1Migration[];
  }
  interface GlobalProps {
    mainModule: typeof import('../worker.ts');
  }
}

type GatewayEnv = import('../env.ts').Env;
