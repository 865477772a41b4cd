// Decode the rows of a timeline document: base64 → inflate → varints → typed arrays, one set a lane.

/** Return the lanes of a track, each {start, end, name, sort, count, covered} of equal length, by start. */
export async function decodeTrack(track, origin) {
  const bytes = await inflate(track.columns);
  const rows = track.rows;
  let at = 0;
  const column = (values) => {
    for (let row = 0; row < rows; row += 1) {
      let byte = bytes[at++];
      let value = byte & 0x7f;
      for (let factor = 128; byte > 0x7f; factor *= 128) {
        byte = bytes[at++];
        value += (byte & 0x7f) * factor;
      }
      values[row] = value;
    }
    return values;
  };
  const lane = column(new Uint8Array(rows));
  const start = column(new Float64Array(rows));
  const end = column(new Float64Array(rows));
  const name = column(new Int32Array(rows));
  const sort = column(new Uint8Array(rows));
  const count = column(new Int32Array(rows));
  const covered = column(new Float64Array(rows));
  const lanes = [];
  for (let first = 0; first < rows; ) {
    let next = first;
    let time = origin;
    for (; next < rows && lane[next] === lane[first]; next += 1) {
      time += start[next];
      start[next] = time;
      const duration = end[next];
      end[next] = time + duration;
      covered[next] = duration - covered[next];
      count[next] += 1;
    }
    while (lanes.length < lane[first]) lanes.push(null);
    const part = (values) => values.subarray(first, next);
    lanes.push(
      withSums({
        start: part(start),
        end: part(end),
        name: part(name),
        sort: part(sort),
        count: part(count),
        covered: part(covered),
      }),
    );
    first = next;
  }
  return lanes.filter(Boolean);
}

/** Add running sums of the covered time, one a sort: what any stretch of a lane holds is then two look-ups away. */
function withSums(lane) {
  const rows = lane.start.length;
  const sums = new Map();
  for (let row = 0; row < rows; row += 1) {
    if (!sums.has(lane.sort[row])) sums.set(lane.sort[row], new Float64Array(rows + 1));
  }
  for (const [sort, sum] of sums) {
    for (let row = 0; row < rows; row += 1) sum[row + 1] = sum[row] + (lane.sort[row] === sort ? lane.covered[row] : 0);
  }
  return { ...lane, sums: [...sums] };
}

/** Return the names that rows refer to. */
export async function decodeNames(packed) {
  return JSON.parse(new TextDecoder().decode(await inflate(packed)));
}

/** The first row of a lane that starts at a time or later. */
export function firstAt(start, time, low = 0, high = start.length) {
  while (low < high) {
    const middle = (low + high) >> 1;
    if (start[middle] < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

async function inflate(text) {
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
