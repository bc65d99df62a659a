/** What was thrown, as a text for the log. */
export const errorMessage = (error: unknown): string => (error instanceof Error ? error.message : 'unknown');
