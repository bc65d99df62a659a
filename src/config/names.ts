/** Names of the variables and secrets (docs/reference/configuration.md). `schema.ts` checks their values. */
export const CONFIG_NAMES = [
  'PUBLIC_URL',
  'RUNPOD_BASE_URL',
  'ENDPOINTS',
  'POLICY',
  'LIMITS',
  'CORS_ORIGINS',
  'R2_S3_ENDPOINT',
  'R2_BUCKET',
  'TOKEN_SECRET',
  'ADMIN_TOKEN',
  'RUNPOD_API_KEY',
  'R2_ACCESS_KEY_ID',
  'R2_SECRET_ACCESS_KEY',
] as const;
export type ConfigName = (typeof CONFIG_NAMES)[number];
