import { z } from 'zod';
import { type Outcome, done, failure } from './outcome.ts';
import { type Secrets, writeSecrets } from './secrets.ts';

/** The account whose key the launcher prints. */
const ACCOUNT = 'local';

const keySchema = z.object({ key: z.string().min(1) });

/** The API key kept in the state directory if the gateway still takes it, else a new one from `POST /v1/keys`. */
export async function ensureApiKey(
  url: string,
  directory: string,
  secrets: Secrets,
  signal: AbortSignal,
): Promise<Outcome<string>> {
  if (secrets.apiKey !== null) {
    const headers = { authorization: `Bearer ${secrets.apiKey}` };
    const known = await fetch(`${url}/v1/jobs?limit=1`, { headers, signal });
    await known.body?.cancel();
    if (known.ok) {
      return done(secrets.apiKey);
    }
  }
  const response = await fetch(`${url}/v1/keys`, {
    method: 'POST',
    headers: { authorization: `Bearer ${secrets.adminToken}`, 'content-type': 'application/json' },
    body: JSON.stringify({ account: ACCOUNT, environment: 'test', name: 'this machine' }),
    signal,
  });
  const answer = await response.text();
  const made = keySchema.safeParse(response.ok ? JSON.parse(answer) : null);
  if (!made.success) {
    return failure(`The gateway made no API key (${response.status}). Its answer:`, [answer]);
  }
  writeSecrets(directory, { ...secrets, apiKey: made.data.key });
  return done(made.data.key);
}
