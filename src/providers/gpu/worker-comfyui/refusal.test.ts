import { describe, expect, it } from 'vitest';
import { refusalIn } from './refusal.ts';

/**
 * The texts in which worker-comfyui 5.8.5 reports the recorded errors of ComfyUI 0.33.0 (test/fixtures/comfyui). They
 * were produced by its `queue_workflow` for each recording.
 */
const REFUSALS: [string, string, string, string, { id: string; class_type: string } | undefined][] = [
  [
    'invalid_missing_file.json',
    "Workflow validation failed:\n• Node 1 (errors): [{'type': 'custom_validation_failed', 'message': 'Custom validation failed for node', 'details': 'image - Invalid image file: does-not-exist.png', 'extra_info': {'input_name': 'image'}}]\n• Node 1 (dependent_outputs): ['2']\n• Node 1 (class_type): LoadImage",
    'invalid_workflow',
    'Node 1 (LoadImage): Custom validation failed for node: image - Invalid image file: does-not-exist.png.',
    { id: '1', class_type: 'LoadImage' },
  ],
  [
    'invalid_missing_input.json',
    "Workflow validation failed:\n• Node 2 (errors): [{'type': 'required_input_missing', 'message': 'Required input is missing', 'details': 'filename_prefix', 'extra_info': {'input_name': 'filename_prefix'}}]\n• Node 2 (dependent_outputs): ['2']\n• Node 2 (class_type): SaveImage",
    'invalid_workflow',
    'Node 2 (SaveImage): Required input is missing: filename_prefix.',
    { id: '2', class_type: 'SaveImage' },
  ],
  [
    'invalid_missing_model.json',
    "Workflow validation failed:\n• Node 1 (errors): [{'type': 'value_not_in_list', 'message': 'Value not in list', 'details': \"ckpt_name: 'nope.safetensors' not in []\", 'extra_info': {'input_name': 'ckpt_name', 'input_config': [[], {'tooltip': 'The name of the checkpoint (model) to load.'}], 'received_value': 'nope.safetensors'}}]\n• Node 1 (dependent_outputs): ['2']\n• Node 1 (class_type): CheckpointLoaderSimple\n\nAvailable checkpoint models: a.safetensors, b.safetensors",
    'model_missing',
    'The worker lacks the model nope.safetensors.',
    { id: '1', class_type: 'CheckpointLoaderSimple' },
  ],
  [
    'invalid_no_outputs.json',
    'Prompt has no outputs. Raw response: {"error": {"type": "prompt_no_outputs", "message": "Prompt has no outputs", "details": "", "extra_info": {}}, "node_errors": {}}',
    'invalid_workflow',
    'Prompt has no outputs',
    undefined,
  ],
  [
    'invalid_unknown_class.json',
    'Node \'NoSuchNode\' not found. The custom node may not be installed.. Raw response: {"error": {"type": "missing_node_type", "message": "Node \'NoSuchNode\' not found. The custom node may not be installed.", "details": "Node ID \'#1\'", "extra_info": {"node_id": "1", "class_type": "NoSuchNode", "node_title": "NoSuchNode"}}, "node_errors": {}}',
    'invalid_workflow',
    "Node 'NoSuchNode' not found. The custom node may not be installed. Node ID '#1'",
    { id: '1', class_type: 'NoSuchNode' },
  ],
  [
    'invalid_value_out_of_range.json',
    "Workflow validation failed:\n• Node 1 (errors): [{'type': 'value_bigger_than_max', 'message': 'Value 999999 bigger than max of 16384', 'details': 'width', 'extra_info': {'input_name': 'width', 'input_config': ['INT', {'default': 512, 'min': 1, 'max': 16384, 'step': 1}], 'received_value': 999999}}]\n• Node 1 (dependent_outputs): ['2']\n• Node 1 (class_type): EmptyImage",
    'invalid_workflow',
    'Node 1 (EmptyImage): Value 999999 bigger than max of 16384: width.',
    { id: '1', class_type: 'EmptyImage' },
  ],
];

describe('a graph that ComfyUI rejected', () => {
  it.each(REFUSALS)('is reported in a readable message: %s', (_recording, text, code, message, node) => {
    expect(refusalIn(text)).toEqual({
      code,
      at: 'workflow',
      retryable: false,
      message,
      ...(node === undefined ? {} : { node }),
    });
  });

  it('is reported with every node in the message and no `node` when several nodes have errors', () => {
    const line = (id: string): string =>
      `\n• Node ${id} (errors): [{'type': 'required_input_missing', 'message': 'Required input is missing', 'details': 'x'}]` +
      `\n• Node ${id} (class_type): Save`;
    expect(refusalIn(`Workflow validation failed:${line('1')}${line('2')}`)).toEqual({
      code: 'invalid_workflow',
      at: 'workflow',
      retryable: false,
      message:
        '2 nodes of the graph have errors. Node 1 (Save): Required input is missing: x. Node 2 (Save): Required input is missing: x.',
    });
  });

  it('is reported as model_missing when the list of models is cut off', () => {
    const text =
      `Workflow validation failed:\n• Node 4 (errors): [{'type': 'value_not_in_list', 'message': 'Value not in list', ` +
      `'details': "lora: 'b.safetensors' not in ['a.safetensors', 'c.safe`;
    expect(refusalIn(text)).toMatchObject({
      code: 'model_missing',
      message: 'The worker lacks the model b.safetensors.',
    });
  });

  it('is reported as invalid_workflow, without the list of choices, when the value is not a model', () => {
    const text =
      `Workflow validation failed:\n• Node 4 (errors): [{'type': 'value_not_in_list', 'message': 'Value not in list', ` +
      `'details': "sampler_name: 'best' not in ['euler', 'ddim']", 'extra_info': {}}]`;
    expect(refusalIn(text)).toMatchObject({
      code: 'invalid_workflow',
      message: "Node 4: Value not in list: sampler_name: 'best'.",
    });
  });

  it.each([
    ['Prompt has no outputs. Raw response: {"error": {"message": "Prom', 'Prompt has no outputs'],
    ['ComfyUI validation failed (could not parse error response): <html>', 'ComfyUI rejected the graph.'],
    [
      'Prompt outputs failed validation\n\nThis usually means a required model or parameter is not available.\nAvailable checkpoint models: a',
      'Prompt outputs failed validation',
    ],
    ['Workflow validation failed: 3: bad', 'Workflow validation failed: 3: bad'],
  ])('is reported with the first line when the text cannot be parsed: %s', (text, message) => {
    expect(refusalIn(text)).toMatchObject({ code: 'invalid_workflow', message });
  });

  it.each(['Job processing failed', 'WebSocket communication error: closed', ''])(
    'is not recognized in "%s"',
    (text) => {
      expect(refusalIn(text)).toBeNull();
    },
  );
});
