/**
 * A rank's side of the launcher: two calls over the channel that Node opens between a process and its child.
 *
 * Nobody can catch `kill -9`, so a launcher that dies of it can't end its ranks. But the system closes its end of the
 * channel, whatever it died of, and that the ranks can see.
 */

/** What a rank tells the launcher: its place in the mesh, 'dp0 tp1'. */
export interface PlaceMessage {
  readonly fourfold: { readonly place: string };
}

/**
 * Ends this process, with exit code 1, when its launcher has ended. Without a launcher it does nothing. The channel is
 * not a reason for the process to stay: it still ends by itself when its work is done.
 */
export function endWithLauncher(): void {
  if (!process.send) return;
  if (!process.connected) end(); // it went before this call
  process.off('disconnect', end).once('disconnect', end);
  if (process.listenerCount('message') === 0) process.channel?.unref(); // else somebody else wants it open
}

/** Says why, and ends. Nobody may hear it any more. */
function end(): void {
  console.error('the launcher has gone, and this rank goes with it');
  process.exit(1);
}

/** Tells the launcher, if there is one, as whose to show this rank's output; in small letters, digits and spaces. */
export function announcePlace(place: string): void {
  const message: PlaceMessage = { fourfold: { place } };
  // If the launcher has gone meanwhile, endWithLauncher takes care of it.
  if (process.connected) process.send?.(message, undefined, {}, () => {});
}

/** The place that a message tells. A rank's message is checked like any input: letters that can't move the cursor. */
export function placeIn(message: unknown): string | undefined {
  const { place } = (message as Partial<PlaceMessage> | null)?.fourfold ?? {};
  return typeof place === 'string' && /^[a-z0-9 ]{1,40}$/.test(place) ? place : undefined;
}
