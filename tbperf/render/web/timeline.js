/** A place for the timeline. */
export async function drawTimeline() {
  return { close() {}, show() {}, repaint() {} };
}
