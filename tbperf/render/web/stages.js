// A colour for each stage, the same in every chart; stages that have none of their own get one by their name.

const KNOWN = {
  dataload: "--cause-dataloader",
  preprocess: "--copies",
  forward: "--cause-sync",
  inference: "--cause-sync",
  loss: "--memsets",
  backward: "--collectives",
  optimizer: "--kernels",
  ema: "--cause-python",
  log: "--cause-host_op",
  write: "--cause-host_op",
  postprocess: "--cause-save",
  nms: "--cause-plot",
  save: "--cause-save",
  plot: "--cause-plot",
  validate: "--cause-validation",
  final_eval: "--cause-validation",
};
const OTHERS = ["--cause-allocation", "--cause-launch", "--cause-python", "--cause-queued", "--cause-host_op"];

/** The CSS variable that holds the colour of a stage; null names time without one. */
export function stageColor(stage) {
  if (stage === null) return "--cause-unknown";
  if (Object.hasOwn(KNOWN, stage)) return KNOWN[stage];
  let sum = 0;
  for (const c of stage) sum = (sum * 31 + c.codePointAt(0)) % 9973;
  return OTHERS[sum % OTHERS.length];
}
