/** Makes <TrainHere/> known to every page; only the page that has it loads it. */
import { type App, defineAsyncComponent } from 'vue';

export function registerTraining(app: App): void {
  app.component(
    'TrainHere',
    defineAsyncComponent(() => import('./TrainHere.vue')),
  );
}
