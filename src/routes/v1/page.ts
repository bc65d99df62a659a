import { z } from '@hono/zod-openapi';
import { accountName } from '../../services/keys/request.ts';
import type { Page } from '../../services/paginate.ts';
import { wholeNumber } from './query-fields.ts';

/** Lists that come in pages. */

const MAX_PAGE_ITEMS = 100;
const DEFAULT_PAGE_ITEMS = 20;

/** The fields of every list's query. Each list adds its filters. */
export const pageFields = {
  limit: wholeNumber({ min: 1, max: MAX_PAGE_ITEMS, default: DEFAULT_PAGE_ITEMS }),
  cursor: z.string().min(1).max(200).optional(),
};

/** Query of the lists that a key and the operator can read. `account` is for the operator; a key has only its own. */
export const accountPageQuery = z.object({ ...pageFields, account: accountName.optional() });

/** A page of these, as every list answers it. */
export const pageOf = <Item extends z.ZodType>(item: Item) =>
  z.object({ data: z.array(item), has_more: z.boolean(), next_cursor: z.string().nullable() });

/** A page of a service as a response. */
export const renderPage = <Item, Rendered>({ items, next_cursor }: Page<Item>, render: (item: Item) => Rendered) => ({
  data: items.map(render),
  has_more: next_cursor !== null,
  next_cursor,
});
