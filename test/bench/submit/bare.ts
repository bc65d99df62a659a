import { Hono } from 'hono';

/** What a submit is measured against: as little as a Worker can do with the same request. */
const app = new Hono<{ Bindings: { RUNPOD_URL: string } }>();

app.get('/readyz', (c) => c.json({ status: 'ok' }));

/** (a) A bare route: JSON in, the same JSON out. */
app.post('/echo', async (c) => c.json(await c.req.json<unknown>()));

/** (b) A bare proxy of RunPod's `/run`: nothing is checked, nothing is kept. */
app.post('/run', async (c) => {
  const answer = await fetch(c.env.RUNPOD_URL, {
    method: 'POST',
    headers: { authorization: 'Bearer key', 'content-type': 'application/json' },
    body: JSON.stringify({ input: await c.req.json<unknown>() }),
  });
  return c.json(await answer.json());
});

// oxlint-disable-next-line import/no-default-export -- the form of a Worker
export default app;
