import type { Problem } from '../domain/problems.ts';
import { fail, ok, type Result } from '../domain/result.ts';
import { readCursor, writeCursor } from '../lib/cursor.ts';

/** What a client asks of a list: `cursor` is the `next_cursor` of the page before. */
export type PageRequest = { limit: number; cursor: string | null };
export type Page<Item> = { items: Item[]; next_cursor: string | null };

/**
 * A page of a list whose items have a place in its order.
 * @param fetch reads up to `limit` items that come after the place `after`; null is the beginning
 * @param positionOf returns the position of an item: the id by which the list is sorted
 */
export async function paginate<Item>(
  { limit, cursor }: PageRequest,
  fetch: (page: { limit: number; after: string | null }) => Promise<Item[]>,
  positionOf: (item: Item) => string,
): Promise<Result<Page<Item>, Problem>> {
  const after = positionIn(cursor);
  if (!after.ok) {
    return after;
  }
  // One item more than the page has says whether there is a next page.
  const found = await fetch({ limit: limit + 1, after: after.value });
  const items = found.slice(0, limit);
  const last = items.at(-1);
  return ok({ items, next_cursor: found.length > limit && last !== undefined ? writeCursor(positionOf(last)) : null });
}

/** For a cursor that no page of the list had. */
export const invalidCursor: Problem = {
  code: 'invalid_cursor',
  detail: 'The cursor is not one returned by this list.',
};

function positionIn(cursor: string | null): Result<string | null, Problem> {
  const position = cursor === null ? null : readCursor(cursor);
  return cursor !== null && position === null ? fail(invalidCursor) : ok(position);
}
