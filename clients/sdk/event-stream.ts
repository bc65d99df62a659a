import { createParser } from 'eventsource-parser';

/** One event of an SSE stream, as it came. */
export interface RawEvent {
  id: string | undefined;
  name: string;
  data: string;
}

/**
 * Reads an SSE body. An event is complete with its closing blank line; an incomplete one at the end of a cut stream is dropped.
 * `onActivity` is called for every chunk, keep-alive comments included.
 */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  onActivity: () => void,
): AsyncGenerator<RawEvent, void, void> {
  const waiting: RawEvent[] = [];
  const parser = createParser({
    onEvent: ({ id, event, data }) => waiting.push({ id, name: event ?? 'message', data }),
  });
  // Keeps a character that is split between two chunks until it is whole.
  const decoder = new TextDecoder();
  const reader = body.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      onActivity();
      parser.feed(decoder.decode(value, { stream: true }));
      for (let event = waiting.shift(); event !== undefined; event = waiting.shift()) {
        yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
