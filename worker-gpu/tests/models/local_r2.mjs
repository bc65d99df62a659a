/**
 * R2's local S3 endpoint, as Miniflare serves it: for the tests of the model sync, which are in Python.
 *
 * Prints one line of JSON, `{"endpoint": "http://…"}`, and ends when its input does. Bucket `models`, key id `local`,
 * secret `local-secret`, all in memory.
 */
import { Miniflare, convertV4MiniflareOptions } from 'miniflare';

const miniflare = new Miniflare(
  convertV4MiniflareOptions({
    modules: true,
    script: 'export default { fetch: () => new Response(null, { status: 404 }) };',
    compatibilityDate: '2026-11-01',
    r2Buckets: {
      BUCKET: { id: 'models', s3Credentials: { accessKeyId: 'local', secretAccessKey: 'local-secret' } },
    },
  }),
);
const url = await miniflare.ready;
process.stdout.write(`${JSON.stringify({ endpoint: new URL('/cdn-cgi/local/r2/s3', url).href })}\n`);
process.stdin.resume();
process.stdin.on('end', () => {
  void miniflare.dispose().then(() => process.exit(0));
});
