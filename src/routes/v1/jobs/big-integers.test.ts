import { describe, expect, it } from 'vitest';
import { testBindings } from '../../../../test/gateway-bindings.ts';
import { signToken } from '../../../providers/tokens.ts';
import { answerRunpod, anyone, newClient } from '../../../testing/gateway.ts';
import { jobSchema } from '../schemas.ts';

/** ComfyUI's seeds reach 2^64 - 1; a JavaScript number is exact up to 2^53 - 1 only. */

describe('a seed beyond 2^53', () => {
  it.each(['18446744073709551615', '9007199254740993', '-9223372036854775808'])(
    '%s reaches the worker digit by digit',
    async (seed) => {
      answerRunpod();
      const { call } = await newClient();
      const body = `{"workflow": {"1": {"class_type": "KSampler", "inputs": {"seed": ${seed}, "list": [[${seed}]]}}}}`;
      const taken = await call('/v1/jobs', { method: 'POST', headers: { 'content-type': 'application/json' }, body });
      expect(taken.status).toBe(201);
      const job = jobSchema.parse(await taken.json()).id;

      const token = await signToken(
        testBindings.TOKEN_SECRET,
        { purpose: 'worker', job, attempt: 1 },
        Date.now() + 1e5,
      );
      const claimed = await anyone(`/worker/jobs/${job}/claim`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body: JSON.stringify({ attempt: 1, claim: crypto.randomUUID(), worker: { id: 'w1', version: 'test' } }),
      });
      expect(claimed.status).toBe(200);
      expect(await claimed.text()).toContain(
        `"workflow":{"1":{"class_type":"KSampler","inputs":{"seed":${seed},"list":[[${seed}]]}}}`,
      );
    },
  );

  it.each(['18446744073709551616', `-${'9'.repeat(30)}`])(
    '%s, beyond what any node takes, is refused',
    async (seed) => {
      const { call } = await newClient();
      const body = `{"workflow": {"1": {"class_type": "KSampler", "inputs": {"seed": ${seed}}}}}`;
      const response = await call('/v1/jobs', {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body,
      });
      expect(response.status).toBe(422);
      expect(await response.json()).toMatchObject({
        code: 'out_of_range',
        errors: [{ pointer: '#/workflow/1/inputs/seed' }],
      });
    },
  );
});
