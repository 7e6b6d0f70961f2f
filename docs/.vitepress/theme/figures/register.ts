/** Makes the figures known to every page; each is loaded by the pages that have it. */
import './figures.css';
import { type App, defineAsyncComponent } from 'vue';

export function registerFigures(app: App): void {
  app.component(
    'PipelineFigure',
    defineAsyncComponent(() => import('./PipelineFigure.vue')),
  );
  app.component(
    'TensorFigure',
    defineAsyncComponent(() => import('./TensorFigure.vue')),
  );
  app.component(
    'RingFigure',
    defineAsyncComponent(() => import('./RingFigure.vue')),
  );
  app.component(
    'BucketFigure',
    defineAsyncComponent(() => import('./BucketFigure.vue')),
  );
  app.component(
    'MeshFigure',
    defineAsyncComponent(() => import('./MeshFigure.vue')),
  );
}
