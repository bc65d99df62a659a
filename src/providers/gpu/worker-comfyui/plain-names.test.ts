import { describe, expect, it } from 'vitest';
import { withPlainNames } from './plain-names.ts';

const sha256 = `${'ab'.repeat(16)}${'cd'.repeat(16)}`;
const hash = 'ab'.repeat(16);

describe('file names for worker-comfyui', () => {
  it.each(['photo.png', 'image (1).png', 'photo[1].png', 'é "x".png'])(
    'are unchanged when they are plain: %s',
    (name) => {
      const workflow = '{"1":{"class_type":"LoadImage","inputs":{"seed":18446744073709551615}}}';
      const plain = withPlainNames(workflow, [{ name, sha256 }]);
      expect(plain.workflow).toBe(workflow);
      expect(plain.nameOf.get(name)).toBe(name);
    },
  );

  it.each([
    ['portraits/me.png', `${hash}.png`],
    ['sub\\me.PNG', `${hash}.PNG`],
    ['clipspace/clipspace-mask-1234.5.png [input]', `${hash}.png`],
    ['x.png [input]', `${hash}.png`],
    ['folder/noextension', hash],
  ])("are made of the content's hash when ComfyUI would not find the file: %s", (name, plain) => {
    expect(withPlainNames('{}', [{ name, sha256 }]).nameOf.get(name)).toBe(plain);
  });

  it('replace only values of the graph that equal the old name', () => {
    const name = 'portraits/me.png';
    const workflow =
      '{"1":{"class_type":"LoadImage","inputs":{"image":"portraits/me.png","seed":18446744073709551615}},' +
      '"2":{"class_type":"Text","inputs":{"text":"see portraits/me.png","link":["1",0]},"_meta":{"title":"portraits/me.png"}}}';
    expect(withPlainNames(workflow, [{ name, sha256 }]).workflow).toBe(
      workflow.replace('"image":"portraits/me.png"', `"image":"${hash}.png"`),
    );
  });
});
