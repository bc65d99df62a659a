/** How a job must succeed: the last state of each node, and files as `name type content type[: text]`. */
export interface Success {
  nodes: Record<string, string>;
  outputs: string[];
}

/** How a job must fail: its error and the last state of each node. */
export interface Failure {
  error: { code: string; node?: { id: string; class_type: string }; message: string };
  nodes: Record<string, string>;
}

const png = (name: string) => `${name} image image/png`;
const fresh = { '1': 'finished', '2': 'finished' };
const sampled = { '1': 'cached', '2': 'finished', '5': 'finished' };
const refused = (message: string, id?: string, class_type = ''): Failure => ({
  error: { code: 'invalid_workflow', message, ...(id === undefined ? {} : { node: { id, class_type } }) },
  nodes: {},
});

/** Recordings of prompts that ComfyUI ran to the end, by name. */
export const SUCCEEDS: Record<string, Success> = {
  animated_webp: { nodes: fresh, outputs: ['anim_00001_.webp image image/webp'] },
  batch_of_three: { nodes: fresh, outputs: ['batch_00001_.png', 'batch_00002_.png', 'batch_00003_.png'].map(png) },
  // What was said before the socket was there is not said again; the history tells the outputs all the same.
  client_connects_in_mid_run: { nodes: { '2': 'finished', '5': 'finished' }, outputs: [png('t_00007_.png')] },
  load_uploaded_image: { nodes: fresh, outputs: [png('l_00001_.png')] },
  'own_prompt_id 1': { nodes: { '1': 'cached', '2': 'finished' }, outputs: [png('t_00008_.png')] },
  'own_prompt_id 2': { nodes: { '1': 'cached', '2': 'finished' }, outputs: [png('t_00008_.png')] },
  preview_is_temp_output: {
    nodes: { '1': 'cached', '3': 'finished' },
    outputs: [png('temp/ComfyUI_temp_mjftf_00001_.png')],
  },
  previews_with_metadata: { nodes: sampled, outputs: [png('t_00006_.png')] },
  progress_with_previews: { nodes: sampled, outputs: [png('p_00001_.png')] },
  progress_without_previews: { nodes: sampled, outputs: [png('p_00002_.png')] },
  'queue_of_two_second_deleted 1': { nodes: { ...sampled, '1': 'finished' }, outputs: [png('t_00002_.png')] },
  'queue_order_front_and_number 1': { nodes: sampled, outputs: [png('t_00003_.png')] },
  'queue_order_front_and_number 2': { nodes: sampled, outputs: [png('t_00004_.png')] },
  'queue_order_front_and_number 3': { nodes: sampled, outputs: [png('t_00005_.png')] },
  save_video_mp4: { nodes: { ...fresh, '7': 'finished' }, outputs: ['video/v_00001_.mp4 video video/mp4'] },
  save_webm: { nodes: fresh, outputs: ['w_00001_.webm video video/webm'] },
  success_cached: { nodes: { '1': 'cached', '2': 'finished' }, outputs: [png('t_00001_.png')] },
  success_image: { nodes: fresh, outputs: [png('t_00001_.png')] },
  text_preview_any: { nodes: fresh, outputs: ['2.txt text text/plain; charset=utf-8: hello'] },
  two_outputs_subfolder: {
    nodes: { '1': 'cached', '2': 'finished', '4': 'finished', '6': 'finished' },
    outputs: [png('b_00001_.png'), png('sub/dir/a_00001_.png')],
  },
};

/** Recordings of prompts that it refused, broke off or lost, by name. */
export const FAILS: Record<string, Failure> = {
  execution_error: {
    error: {
      code: 'out_of_memory',
      node: { id: '9', class_type: 'Explode' },
      message: 'CUDA out of memory. Tried to allocate 2.00 GiB (probe)',
    },
    nodes: { '1': 'finished', '9': 'running' },
  },
  interrupted: {
    error: { code: 'execution_error', message: 'The run was interrupted in ComfyUI.' },
    nodes: { '1': 'cached', '5': 'running' },
  },
  invalid_missing_file: refused(
    'Custom validation failed for node: image - Invalid image file: does-not-exist.png',
    '1',
    'LoadImage',
  ),
  invalid_missing_input: refused('Required input is missing: filename_prefix', '2', 'SaveImage'),
  invalid_missing_model: {
    error: {
      code: 'model_missing',
      node: { id: '1', class_type: 'CheckpointLoaderSimple' },
      message: 'The worker lacks the model nope.safetensors: it is neither in its folders nor in its manifest.',
    },
    nodes: {},
  },
  invalid_no_outputs: refused('Prompt has no outputs'),
  invalid_unknown_class: refused(
    "Cannot execute because node NoSuchNode does not exist. Node ID '#1'",
    '1',
    'NoSuchNode',
  ),
  invalid_value_out_of_range: refused('Value 999999 bigger than max of 16384: width', '1', 'EmptyImage'),
  one_output_invalid_answers_200: refused(
    'Custom validation failed for node: image - Invalid image file: missing.png',
    '9',
    'LoadImage',
  ),
  'queue_of_two_second_deleted 2': {
    error: { code: 'comfyui_unavailable', message: 'ComfyUI lost the run: it was restarted.' },
    nodes: {},
  },
};
