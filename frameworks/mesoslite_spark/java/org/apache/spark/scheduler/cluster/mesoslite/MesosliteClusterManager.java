package org.apache.spark.scheduler.cluster.mesoslite;

import org.apache.spark.SparkContext;
import org.apache.spark.scheduler.ExternalClusterManager;
import org.apache.spark.scheduler.SchedulerBackend;
import org.apache.spark.scheduler.TaskScheduler;
import org.apache.spark.scheduler.TaskSchedulerImpl;

/** Found by Spark through META-INF/services: who serves the master mesoslite://127.0.0.1:PORT. */
public final class MesosliteClusterManager implements ExternalClusterManager {
    static final String SCHEME = "mesoslite://";

    @Override
    public boolean canCreate(String masterUrl) {
        return masterUrl.startsWith(SCHEME);
    }

    @Override
    public TaskScheduler createTaskScheduler(SparkContext context, String masterUrl) {
        return new TaskSchedulerImpl(context);
    }

    @Override
    public SchedulerBackend createSchedulerBackend(
            SparkContext context, String masterUrl, TaskScheduler scheduler) {
        int port = Integer.parseInt(masterUrl.substring(masterUrl.lastIndexOf(':') + 1));
        return new MesosliteBackend(context, (TaskSchedulerImpl) scheduler, port);
    }

    @Override
    public void initialize(TaskScheduler scheduler, SchedulerBackend backend) {
        ((TaskSchedulerImpl) scheduler).initialize(backend);
    }
}
