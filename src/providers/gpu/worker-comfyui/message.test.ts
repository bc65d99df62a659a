import { describe, expect, it } from 'vitest';
import cases from '../../../../test/fixtures/public-messages.json' with { type: 'json' };
import { cleanMessage } from './message.ts';

describe('a message of worker-comfyui', () => {
  it.each([
    ['node 3: width 1024/768 is wrong', 'node 3: width 1024/768 is wrong'],
    ['no file /comfyui/models/checkpoints/sd_xl.safetensors', 'no file sd_xl.safetensors'],
    ['cannot write to /comfyui/output', 'cannot write to [path]'],
    ["No such file: '/root/.cache/huggingface/token'", "No such file: '[path]'"],
    ['cannot read C:\\Users\\me\\a.png', 'cannot read a.png'],
    ['upload to https://bucket.s3.amazonaws.com/x?X-Amz-Signature=abc failed', 'upload to [url] failed'],
    [
      "HTTPConnectionPool(host='127.0.0.1', port=8188): refused",
      "HTTPConnectionPool(host='[host]', port=8188): refused",
    ],
    ['10.0.0.7:8188 did not answer', '[host] did not answer'],
    ['[::1]:8188 did not answer', '[host] did not answer'],
    ['localhost:8188 did not answer', '[host] did not answer'],
    ['pod.runpod.internal:80 and api.example.com', '[host] and [host]'],
    ['bad key rpa_ABCDEFGHIJKLMNOPQRSTUVWXYZ0123', 'bad key [secret]'],
    ['no module comfyui-impact-subpack-of-nodes', 'no module comfyui-impact-subpack-of-nodes'],
    [`key comfyui-${'0a'.repeat(20)} is bad`, 'key [secret] is bad'],
    ['boom\nTraceback (most recent call last):\n  File "/handler.py", line 3, in x', 'boom'],
    ['handler: boom \ntraceback: Traceback (most recent call last): …', 'handler: boom'],
    ['a\u0000b\n\n  c', 'a b c'],
    ['', ''],
  ])('is cleaned from %j to %j', (text, clean) => {
    expect(cleanMessage(text)).toBe(clean);
  });

  it.each(cases.removed)('loses $secret and keeps $kept: $text', ({ text, secret, kept }) => {
    const cleaned = cleanMessage(text);
    expect(cleaned).not.toContain(secret);
    expect(cleaned).toContain(kept);
  });

  it.each(cases.unchanged)('does not change: %s', (text) => {
    expect(cleanMessage(text)).toBe(text);
  });

  it('is cut to 1,000 characters of well-formed Unicode', () => {
    const cleaned = cleanMessage('😀'.repeat(5_000));
    expect(cleaned.length).toBeLessThanOrEqual(1_000);
    expect(cleaned.isWellFormed()).toBe(true);
  });

  it('is cleaned within a second even if it is adversarial', () => {
    for (const text of [
      '/'.repeat(100_000),
      'a.'.repeat(50_000),
      '://'.repeat(30_000),
      'a-'.repeat(50_000),
      '1.'.repeat(50_000),
      `host ${'a'.repeat(50_000)}`,
      "host='".repeat(10_000),
      "'/".repeat(50_000),
      '[:'.repeat(50_000),
      'eyJaaaaaaaa.'.repeat(10_000),
    ]) {
      const startedAt = performance.now();
      cleanMessage(text);
      expect(performance.now() - startedAt).toBeLessThan(1_000);
    }
  });
});
