/** Variables and secrets of the gateway under test. Made up, and only ever used on loopback or inside workerd. */
export const testBindings = {
  PUBLIC_URL: 'https://gateway.test',
  RUNPOD_BASE_URL: 'https://runpod.test/v2',
  ENDPOINTS: JSON.stringify({ default: { runpod_id: 'ep1' }, narrow: { runpod_id: 'ep2' } }),
  R2_S3_ENDPOINT: 'https://r2.test',
  TOKEN_SECRET: 'test-token-secret-test-token-secret-1',
  ADMIN_TOKEN: 'test-admin-token-test-admin-token-12',
  RUNPOD_API_KEY: 'test-runpod-key',
  R2_ACCESS_KEY_ID: 'local',
  R2_SECRET_ACCESS_KEY: 'local-secret',
};
