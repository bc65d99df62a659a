import type { ErrorRow } from './row.ts';

/** Codes of a single issue of a request, each with a JSON pointer to the value. */
export const ISSUE_ERRORS = {
  required: {
    status: 422,
    title: 'A required field is missing',
    text: 'Add the field.',
  },
  invalid_type: {
    status: 422,
    title: 'A field has the wrong type',
    text: '`detail` names the expected type.',
  },
  invalid_value: {
    status: 422,
    title: 'A field has an invalid value',
    text: '`detail` names the accepted values.',
  },
  out_of_range: {
    status: 422,
    title: 'A value is out of range',
    text:
      'A number, a length or a count is outside of its limits; the body is nested more than 64 levels deep, ' +
      'or has more than 500,000 values.',
  },
  unknown_field: {
    status: 422,
    title: 'Unknown field',
    text: 'Check the spelling, or remove the field.',
  },
  invalid_name: {
    status: 422,
    title: 'A file name is invalid',
    text:
      'An input name is a relative path of 1 to 255 bytes, without empty, `.` or `..` parts, a drive or ' +
      "control characters. It cannot be the folder of another input's name.",
  },
  duplicate_name: {
    status: 422,
    title: 'Two inputs have the same name',
    text: 'Give each input a name that leads to a file of its own.',
  },
  request_format: {
    status: 422,
    title: 'The body is in the format of another API',
    text:
      "The body is one for ComfyUI's `POST /prompt` or RunPod's `/run`, or a bare workflow. " +
      '`detail` says how to send it here.',
  },
  workflow_format_ui: {
    status: 422,
    title: "The workflow is in the editor's format",
    text: 'Export it in ComfyUI with Workflow → Export (API).',
  },
  workflow_empty: {
    status: 422,
    title: 'The workflow has no nodes',
    text: 'Send a workflow with at least one node.',
  },
  workflow_too_large: {
    status: 413,
    title: 'The workflow is too large',
    text:
      'The workflow, or what `variables`, `params` or `overrides` add to it, is over `max_nodes` or ' +
      '`max_workflow_bytes`.',
  },
  invalid_node: {
    status: 422,
    title: 'A node is malformed',
    text: 'A node is an object with `class_type` and `inputs`.',
  },
  dangling_link: {
    status: 422,
    title: 'A link points to a missing node',
    text: 'A node that an output needs links to a node that does not exist. Elsewhere this is a warning.',
  },
  dependency_cycle: {
    status: 422,
    title: 'The workflow has a cycle',
    text: 'A node needs its own result.',
  },
  node_missing: {
    status: 422,
    title: 'A referenced node is not in the workflow',
    text: '`params` or an override names a node that does not exist.',
  },
  override_not_found: {
    status: 422,
    title: 'No node accepts an override',
    text: 'No input was found for the override. Name the node, or set the value in `params`.',
  },
  override_ambiguous: {
    status: 422,
    title: 'An override matches more than one input',
    text: 'Several inputs match, or a node computes the value. `detail` names them; name the node.',
  },
  variable_missing: {
    status: 422,
    title: 'A placeholder has no variable',
    text: 'Add the name of the `{{ placeholder }}` to `variables`. The pointer leads to the text that has it.',
  },
  variable_unused: {
    status: 422,
    title: 'A variable has no placeholder',
    text: 'No text of the workflow has this placeholder. Remove the variable, or correct its name.',
  },
  limit_exceeded: {
    status: 422,
    title: 'The workflow exceeds a limit of the endpoint',
    text: 'The workflow asks for more pixels, frames, steps or images in a batch than the endpoint allows.',
  },
  node_not_allowed: {
    status: 422,
    title: 'A node class is not allowed',
    text: 'The endpoint or the key does not allow this node class.',
  },
  unsafe_input: {
    status: 422,
    title: "A node reads or writes outside the job's directory",
    text:
      'The input is an absolute path, contains `..` or NUL, ends in `[input]`, `[output]` or `[temp]`, ' +
      'or is a URL where a file name belongs.',
  },
  unknown_node: {
    status: 422,
    title: 'Unknown node class',
    text: "The endpoint's ComfyUI does not have this class.",
  },
  unknown_endpoint: {
    status: 422,
    title: 'Unknown endpoint',
    text: '`GET /v1/endpoints` lists the endpoints that the key may use.',
  },
  unknown_asset: {
    status: 422,
    title: 'Unknown asset',
    text: 'The account has no asset with this id. Upload it first.',
  },
  unknown_output: {
    status: 422,
    title: 'Unknown output',
    text: 'No job of the account has an output with this name yet.',
  },
  input_url_refused: {
    status: 422,
    title: 'A URL is not allowed',
    text: 'The URL of an input, and every redirect of it, must be https and on the public internet.',
  },
  input_fetch_failed: {
    status: 422,
    title: 'A file could not be fetched',
    text: 'The URL of an input did not answer in time, did not answer 200, redirected too often, or ended early.',
    retryable: true,
  },
  invalid_base64: {
    status: 422,
    title: 'The data is not valid base64',
    text: '`data` is base64 with padding, or a data URL of it.',
  },
  unsupported_media: {
    status: 422,
    title: 'Unsupported file type',
    text:
      'The content must be an image, video, audio, 3D, latent or text file. The name and the stated type do not count. ' +
      'An image that states no size, and a text that decoders read as a playlist or an image, are rejected too.',
  },
  image_too_large: {
    status: 422,
    title: 'The image has too many pixels',
    text:
      'The image has more than `max_image_pixels` pixels, all its frames or pages together have more than ' +
      '`max_animation_pixels` pixels, or there are more than 100,000 of them. ' +
      'A PNG, JPEG, GIF or WebP file may be at most 512 MiB.',
  },
  empty_file: {
    status: 400,
    title: 'The file is empty',
    text: 'Send a file with at least one byte.',
  },
  storage_full: {
    status: 422,
    title: "The account's storage limit would be exceeded",
    text: 'Delete assets, or wait until they expire. Open uploads count too.',
  },
  file_too_large: {
    status: 413,
    title: 'The file is too large',
    text: 'The file is over `max_asset_bytes`. Upload it in parts, up to `max_upload_bytes`.',
  },
  url_not_allowed: {
    status: 422,
    title: 'The gateway does not call this URL',
    text: 'A webhook URL must be https, on a public host and a common port, without a user, and not the gateway itself.',
  },
  run_too_large: {
    status: 413,
    title: 'The job is too large for the endpoint',
    text: 'On a worker-comfyui endpoint, workflow and files together must fit into the 10 MB of a RunPod request.',
  },
  invalid_request: {
    status: 422,
    title: 'The request is invalid',
    text: 'The request has issues with different codes. `errors` lists them.',
  },
} as const satisfies Record<string, ErrorRow>;
